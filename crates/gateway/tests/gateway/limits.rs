//! Greedy, slow and malformed clients.

use crate::harness::{
    Answer, DEADLINE, finish, model, not_streamed, reply, request, send, serve, short, stack, stack_with,
    start, token_header,
};
use async_trait::async_trait;
use gateway::{CallId, CallOutcome, Ledger, LedgerError, NewCall};
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_with_an_answer_that_arrives() {
    let stack = stack(&reply("x")).await;
    let mut body = request("x");
    body["padding"] = json!("x".repeat(33 << 20));
    let (status, kind, _) = stack.ask(&body).await.error();
    assert_eq!((status, kind.as_str()), (413, "request_too_large"));

    let mut chunked = TcpStream::connect(stack.address).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: g\r\nconnection: close\r\n{}transfer-encoding: chunked\r\n\r\n",
        token_header()
    );
    chunked.write_all(head.as_bytes()).await.unwrap();
    let piece = [b"100000\r\n".to_vec(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    for _ in 0..34 {
        chunked.write_all(&piece).await.unwrap();
    }
    chunked.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(finish(chunked).await.error().0, 413);
    assert_eq!(stack.model.ledger().totals().requests, 0);
}

#[tokio::test]
async fn a_large_request_within_the_limit_passes() {
    let stack = stack(&reply("x")).await;
    assert_eq!(stack.ask(&request(&"x".repeat(20 << 20))).await.status, 200);
    assert!(stack.model.ledger().entries()[0].request_bytes > 20 << 20);
}

#[tokio::test]
async fn slow_clients_are_not_waited_for() {
    let stack = stack_with(&reply("x"), None, |config| short(&mut config.limits)).await;
    let mut slow_head = TcpStream::connect(stack.address).await.unwrap();
    slow_head
        .write_all(b"POST /v1/messages HTTP/1.1\r\nx-a: ")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, slow_head.read_to_end(&mut rest))
        .await
        .expect("it is closed");

    let mut slow_body = TcpStream::connect(stack.address).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: g\r\nconnection: close\r\n{}content-length: 1000\r\n\r\n{{",
        token_header()
    );
    slow_body.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(finish(slow_body).await.error().0, 408);
    assert_eq!(stack.model.ledger().totals().requests, 0);
}

#[tokio::test]
async fn heads_that_are_too_large_or_no_text_are_refused() {
    let stack = stack(&reply("x")).await;
    let body = request("x").to_string();
    for size in [70 << 10, 1 << 20] {
        let huge = format!("{}x-huge: {}\r\n", token_header(), "h".repeat(size));
        let mut client = TcpStream::connect(stack.address).await.unwrap();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: g\r\nconnection: close\r\n{huge}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        // The connection may close before all of it is written, and the refusal be lost with it.
        let _ = client.write_all(head.as_bytes()).await;
        let answer = finish(client).await;
        assert!(answer.status == 431 || answer.status == 0, "{answer:?}");
    }

    let mut client = TcpStream::connect(stack.address).await.unwrap();
    let mut bytes = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: g\r\nconnection: close\r\n{}x-odd: ",
        token_header()
    )
    .into_bytes();
    bytes.extend_from_slice(b"\xff\xfe\r\ncontent-length: 0\r\n\r\n");
    client.write_all(&bytes).await.unwrap();
    assert_eq!(finish(client).await.error().0, 400);
    assert_eq!(stack.model.ledger().totals().requests, 0);
}

#[tokio::test]
async fn bodies_that_are_no_request_never_reach_the_upstream() {
    let stack = stack(&reply("x")).await;
    let bodies: [&[u8]; 5] = [
        b"",
        b"not json",
        b"{\"model\":\"claude-haiku-5-5\",\"model\":\"claude-opus-5-5\"}",
        b"{\"model\":\"claude-opus-5-5\",\"x\":\"\xff\"}",
        b"{\"messages\":[]}",
    ];
    for body in bodies {
        let answer = send(stack.address, "POST", "/v1/messages", &token_header(), body).await;
        let (status, kind, _) = answer.error();
        assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    }
    assert_eq!(stack.model.ledger().totals().requests, 0);
    assert!(stack.ledger.calls().is_empty());
}

#[tokio::test]
async fn calls_beyond_the_session_s_share_are_told_to_wait() {
    let script = json!({"name": "test", "turns": [{"reply": [{"text": "x"}], "first_byte_delay_ms": 60000}]});
    let stack = stack_with(&script, None, |config| config.limits.concurrent_calls = 2).await;
    let body = not_streamed("x").to_string();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(
            start(
                stack.address,
                "POST",
                "/v1/messages",
                &token_header(),
                body.as_bytes(),
            )
            .await,
        );
    }
    while stack.model.ledger().totals().requests < 2 {
        tokio::task::yield_now().await;
    }
    let answer: Answer = stack.ask(&request("x")).await;
    assert!(answer.headers.contains("retry-after: 1"));
    assert_eq!(answer.error().1, "rate_limit_error");
}

struct FullLedger;

#[async_trait]
impl Ledger for FullLedger {
    async fn open(&self, _: &NewCall) -> Result<CallId, LedgerError> {
        Err(LedgerError {
            reason: "the disk is full".to_owned(),
        })
    }

    async fn close(&self, _: CallId, _: &CallOutcome) -> Result<(), LedgerError> {
        unreachable!("nothing was opened")
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_recorded_is_not_made() {
    let model = model(&reply("x")).await;
    let (_serving, address) = serve(&model.base_url(), Arc::new(FullLedger), None, |_| {}).await;
    let (status, kind, message) = crate::harness::post(address, &request("x")).await.error();
    assert_eq!((status, kind.as_str()), (500, "api_error"));
    assert!(!message.contains("disk"), "{message}");
    assert_eq!(model.ledger().totals().requests, 0);
}
