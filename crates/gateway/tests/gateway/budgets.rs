//! A budget stops the next call, not the one after it.

use crate::harness::{request, stack, stack_with};
use domain::Cost;
use serde_json::{Value, json};

/// Each call costs two cents: a thousand tokens of output at $20 a million.
fn two_cents() -> Value {
    json!({"name": "test", "order": "global", "turns": [
        {"reply": [{"text": "1"}], "usage": {"input_tokens": 0, "output_tokens": 1000}},
        {"reply": [{"text": "2"}], "usage": {"input_tokens": 0, "output_tokens": 1000}},
        {"reply": [{"text": "3"}], "usage": {"input_tokens": 0, "output_tokens": 1000}},
    ]})
}

#[tokio::test]
async fn the_next_call_is_refused_once_the_budget_is_reached() {
    let stack = stack_with(&two_cents(), Some(0.03), |_| {}).await;
    assert_eq!(stack.ask(&request("one")).await.status, 200);
    assert_eq!(stack.ask(&request("two")).await.status, 200);
    let (status, kind, message) = stack.ask(&request("three")).await.error();
    assert_eq!((status, kind.as_str()), (402, "billing_error"));
    assert!(
        message.contains("$0.0400") && message.contains("$0.0300"),
        "{message}"
    );
    assert_eq!(stack.model.ledger().totals().requests, 2);
    assert_eq!(stack.serving.spent(), Cost::from_usd(0.04));
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_where_a_budget_must_be_kept() {
    let mut body = request("x");
    body["model"] = json!("some-other-model");
    let limited = stack_with(&two_cents(), Some(1.0), |_| {}).await;
    let (status, kind, message) = limited.ask(&body).await.error();
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(message.contains("some-other-model"), "{message}");
    assert_eq!(limited.model.ledger().totals().requests, 0);

    let free = stack(&two_cents()).await;
    assert_eq!(free.ask(&body).await.status, 200);
    let outcome = free.closed_call().await.outcome.unwrap();
    assert_eq!((outcome.cost, outcome.usage.output_tokens), (None, 1000));
}

#[tokio::test]
async fn only_allowed_models_are_called() {
    let stack = stack_with(&two_cents(), None, |config| {
        config.models = Some(vec!["claude-haiku-5-5".to_owned()]);
    })
    .await;
    let (status, _, message) = stack.ask(&request("x")).await.error();
    assert_eq!(status, 404);
    assert!(message.contains("claude-haiku-5-5"), "{message}");
    assert_eq!(stack.model.ledger().totals().requests, 0);
}

#[tokio::test]
async fn a_call_that_is_still_running_counts_against_the_next_one() {
    let script = json!({"name": "test", "turns": [{"reply": [{"text": "x"}], "fault": {"kind": "stall", "after_events": 2},
        "usage": {"input_tokens": 1_000_000}}]});
    let stack = stack_with(&script, Some(1.0), |_| {}).await;
    let body = request("one").to_string();
    let headers = crate::harness::token_header();
    let mut first =
        crate::harness::start(stack.address, "POST", "/v1/messages", &headers, body.as_bytes()).await;
    crate::harness::read_until(&mut first, "content_block_start").await;
    assert_eq!(stack.ask(&request("two")).await.error().0, 402);
}
