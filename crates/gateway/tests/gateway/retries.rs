//! What the upstream did not take is sent again; what it may have taken is not.

use crate::harness::{closed_calls, faulty, request, serve, stack, stack_with};
use gateway::{Ended, MemoryLedger};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn an_overloaded_upstream_is_asked_again() {
    let fault = json!({"kind": "error", "status": 529, "error_type": "overloaded_error", "message": "Overloaded", "times": 2});
    let stack = stack(&faulty("at last", &fault)).await;
    assert_eq!(stack.ask(&request("x")).await.status, 200);
    let outcome = stack.closed_call().await.outcome.unwrap();
    assert_eq!((outcome.attempts, outcome.ended), (3, Ended::Completed));
    assert_eq!(stack.model.ledger().totals().requests, 3);
}

#[tokio::test]
async fn tries_are_limited_and_the_last_answer_is_passed_on() {
    let fault =
        json!({"kind": "error", "status": 529, "error_type": "overloaded_error", "message": "Overloaded"});
    let stack = stack(&faulty("never", &fault)).await;
    let (status, kind, message) = stack.ask(&request("x")).await.error();
    assert_eq!(
        (status, kind.as_str(), message.as_str()),
        (529, "overloaded_error", "Overloaded")
    );
    assert_eq!(stack.model.ledger().totals().requests, 3);
    let outcome = stack.closed_call().await.outcome.unwrap();
    assert_eq!((outcome.ended, outcome.status), (Ended::Refused, Some(529)));
}

#[tokio::test]
async fn a_long_retry_after_is_the_client_s_to_wait_for() {
    let fault = json!({"kind": "error", "status": 429, "error_type": "rate_limit_error", "message": "Slow down",
                       "retry_after_seconds": 600});
    let stack = stack(&faulty("never", &fault)).await;
    let answer = stack.ask(&request("x")).await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains("retry-after: 600"));
    assert_eq!(stack.model.ledger().totals().requests, 1);
}

#[tokio::test]
async fn what_may_have_been_worked_on_is_not_sent_again() {
    let error = json!({"kind": "error", "status": 500, "error_type": "api_error", "message": "Internal"});
    for (fault, status) in [(error, 500), (json!({"kind": "close"}), 502)] {
        let stack = stack(&faulty("never", &fault)).await;
        assert_eq!(stack.ask(&request("x")).await.status, status);
        assert_eq!(stack.model.ledger().totals().requests, 1);
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_named_in_the_answer() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ledger = Arc::new(MemoryLedger::default());
    let (_serving, address) = serve(
        &format!("http://{unused}"),
        Arc::clone(&ledger) as _,
        None,
        |_| {},
    )
    .await;
    let (status, kind, message) = crate::harness::post(address, &request("x")).await.error();
    assert_eq!((status, kind.as_str()), (502, "api_error"));
    assert!(
        message.contains("could not reach the model API") && message.contains("refused"),
        "{message}"
    );
    let outcome = closed_calls(&ledger, 1).await.remove(0).outcome.unwrap();
    assert_eq!(
        (outcome.ended, outcome.attempts, outcome.status),
        (Ended::Unreachable, 3, None)
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_given_up() {
    let script =
        json!({"name": "test", "turns": [{"reply": [{"text": "late"}], "first_byte_delay_ms": 60000}]});
    let stack = stack_with(&script, None, |config| {
        config.limits.stream_head = Duration::from_millis(100);
    })
    .await;
    let (status, kind, _) = stack.ask(&request("x")).await.error();
    assert_eq!((status, kind.as_str()), (504, "timeout_error"));
    assert_eq!(stack.model.ledger().totals().requests, 1);
}
