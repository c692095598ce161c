//! Streams that do not end as they should: the client sees what there was, and the ledger what was used.

use crate::harness::{
    DEADLINE, KEY, closed_calls, faulty, finish, model, not_streamed, read_until, reply, request, send,
    serve, short, stack, stack_with, start, token_header,
};
use async_trait::async_trait;
use gateway::{CallId, CallOutcome, Ended, Ledger, LedgerError, MemoryLedger, NewCall};
use serde_json::json;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

const LONG: &str = "a text that is long enough to be cut somewhere in its middle, and then some more of it";

#[tokio::test]
async fn a_stream_that_the_upstream_cuts_is_cut_at_the_same_byte() {
    let script = faulty(LONG, &json!({"kind": "drop", "after_events": 6}));
    let direct = model(&script).await;
    let headers = format!("x-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n");
    let body = request("x").to_string();
    let one = send(
        direct.address(),
        "POST",
        "/v1/messages",
        &headers,
        body.as_bytes(),
    )
    .await;
    let stack = stack(&script).await;
    let two = stack.ask(&request("x")).await;
    assert_eq!(one.text(), two.text());
    assert!(!one.whole && !two.whole);
    let outcome = stack.closed_call().await.outcome.unwrap();
    assert_eq!((outcome.ended, outcome.estimated), (Ended::CutByUpstream, true));
    let sent = stack.model.ledger().entries()[0].sent.usage.unwrap();
    assert_eq!(outcome.usage.input_tokens, sent.input_tokens);
    assert!(outcome.usage.output_tokens >= sent.output_tokens);
    assert!(outcome.cost.is_some());
}

#[tokio::test]
async fn a_client_that_leaves_has_used_what_it_saw() {
    let script = faulty(LONG, &json!({"kind": "stall", "after_events": 6}));
    let stack = stack(&script).await;
    let body = request("x").to_string();
    let mut client = start(
        stack.address,
        "POST",
        "/v1/messages",
        &token_header(),
        body.as_bytes(),
    )
    .await;
    read_until(&mut client, "text_delta").await;
    drop(client);
    let outcome = stack.closed_call().await.outcome.unwrap();
    assert_eq!((outcome.ended, outcome.estimated), (Ended::CutByClient, true));
    assert!(outcome.usage.input_tokens > 0 && outcome.usage.output_tokens > 0);
    assert!(stack.serving.spent().nano_usd > 0);
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_its_reply_pays_for_it() {
    let script = json!({"name": "test", "turns": [{"reply": [{"text": "late"}], "first_byte_delay_ms": 200,
        "usage": {"output_tokens": 77}}]});
    let stack = stack(&script).await;
    let body = not_streamed("x").to_string();
    let client = start(
        stack.address,
        "POST",
        "/v1/messages",
        &token_header(),
        body.as_bytes(),
    )
    .await;
    while stack.model.ledger().totals().requests == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    let outcome = stack.closed_call().await.outcome.unwrap();
    assert_eq!(
        (outcome.ended, outcome.usage.output_tokens),
        (Ended::CutByClient, 77)
    );
}

#[tokio::test]
async fn malformed_streams_pass_and_are_not_taken_for_whole_ones() {
    for text in [
        "data: {\"type\":\"message_stop\"\n\n",
        "data: [\n\n",
        "\u{0}\u{1}\n\n\n",
        ": message_stop\n\n",
    ] {
        let stack = stack(&faulty(
            LONG,
            &json!({"kind": "raw", "after_events": 4, "text": text}),
        ))
        .await;
        let answer = stack.ask(&request("x")).await;
        assert!(answer.whole && answer.text().ends_with(text));
        let outcome = stack.closed_call().await.outcome.unwrap();
        assert_eq!(outcome.ended, Ended::CutByUpstream, "{text:?}");
        assert!(outcome.usage.input_tokens > 0);
    }
}

#[tokio::test]
async fn an_error_in_the_stream_is_passed_and_recorded() {
    let fault = json!({"kind": "stream_error", "after_events": 3, "error_type": "overloaded_error", "message": "Overloaded"});
    let stack = stack(&faulty(LONG, &fault)).await;
    let answer = stack.ask(&request("x")).await;
    assert!(answer.whole && answer.text().contains("overloaded_error"));
    assert_eq!(
        stack.closed_call().await.outcome.unwrap().ended,
        Ended::CutByUpstream
    );
}

#[tokio::test]
async fn an_endless_stream_is_ended() {
    for (what, readable) in [("text", true), ("line", false)] {
        let fault = json!({"kind": "endless", "after_events": 3, "what": what});
        let stack = stack_with(&faulty("x", &fault), None, |config| {
            config.limits.stream_bytes = 1 << 20;
        })
        .await;
        let answer = stack.ask(&request("x")).await;
        assert!(answer.body.len() < 2 << 20);
        let outcome = stack.closed_call().await.outcome.unwrap();
        assert_eq!(outcome.ended, Ended::CutByUpstream);
        if readable && answer.whole {
            assert!(answer.text().ends_with("\n\n") && answer.text().contains("larger than 1048576 bytes"));
        } else {
            assert!(!answer.whole);
        }
    }
}

#[tokio::test]
async fn a_silent_upstream_ends_the_stream_readably() {
    let fault = json!({"kind": "stall", "after_events": 4});
    let stack = stack_with(&faulty(LONG, &fault), None, |config| short(&mut config.limits)).await;
    let answer = stack.ask(&request("x")).await;
    assert!(answer.whole);
    let last = answer.text().trim_end().rsplit("\n\n").next().unwrap().to_owned();
    assert!(
        last.starts_with("event: error\ndata: {") && last.contains("silent"),
        "{last}"
    );
    assert_eq!(
        stack.closed_call().await.outcome.unwrap().ended,
        Ended::CutByUpstream
    );
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let fault = json!({"kind": "endless", "after_events": 3, "what": "text"});
    let stack = stack_with(&faulty("x", &fault), None, |config| {
        config.limits.stream_duration = std::time::Duration::from_millis(300);
    })
    .await;
    let body = request("x").to_string();
    let client = start(
        stack.address,
        "POST",
        "/v1/messages",
        &token_header(),
        body.as_bytes(),
    )
    .await;
    let outcome = stack.closed_call().await.outcome.unwrap();
    assert_eq!(outcome.ended, Ended::CutByUpstream);
    assert!(!finish(client).await.whole);
}

#[tokio::test]
async fn stopping_lets_calls_end_and_then_ends_them() {
    let quick = json!({"name": "test", "turns": [{"reply": [{"text": "quick"}], "first_byte_delay_ms": 50}]});
    let stalled = faulty(LONG, &json!({"kind": "stall", "after_events": 4}));
    for (script, ended, whole) in [(quick, Ended::Completed, true), (stalled, Ended::Stopped, false)] {
        let stack = stack(&script).await;
        let body = request("x").to_string();
        let client = start(
            stack.address,
            "POST",
            "/v1/messages",
            &token_header(),
            body.as_bytes(),
        )
        .await;
        while stack.model.ledger().totals().requests == 0 {
            tokio::task::yield_now().await;
        }
        let answer = tokio::spawn(finish(client));
        tokio::time::timeout(DEADLINE, stack.serving.stop())
            .await
            .unwrap();
        let calls = stack.ledger.calls();
        assert_eq!(calls[0].outcome.as_ref().unwrap().ended, ended);
        assert_eq!(answer.await.unwrap().whole, whole);
        assert!(tokio::net::TcpStream::connect(stack.address).await.is_err());
    }
}

#[tokio::test]
async fn dropping_the_serving_closes_every_entry() {
    let stack = stack(&faulty(LONG, &json!({"kind": "stall", "after_events": 4}))).await;
    let body = request("x").to_string();
    let mut client = start(
        stack.address,
        "POST",
        "/v1/messages",
        &token_header(),
        body.as_bytes(),
    )
    .await;
    read_until(&mut client, "text_delta").await;
    drop(stack.serving);
    let outcome = closed_calls(&stack.ledger, 1).await.remove(0).outcome.unwrap();
    assert!(
        matches!(outcome.ended, Ended::Stopped | Ended::CutByClient),
        "{outcome:?}"
    );
    assert!(outcome.usage.input_tokens > 0);
}

/// Closes when it is let.
struct SlowLedger {
    memory: MemoryLedger,
    permits: Semaphore,
}

#[async_trait]
impl Ledger for SlowLedger {
    async fn open(&self, call: &NewCall) -> Result<CallId, LedgerError> {
        self.memory.open(call).await
    }

    async fn close(&self, id: CallId, outcome: &CallOutcome) -> Result<(), LedgerError> {
        self.permits.acquire().await.unwrap().forget();
        self.memory.close(id, outcome).await
    }
}

#[tokio::test]
async fn the_end_is_not_seen_before_the_call_is_in_the_ledger() {
    let model = model(&reply("all of it")).await;
    let ledger = Arc::new(SlowLedger {
        memory: MemoryLedger::default(),
        permits: Semaphore::new(0),
    });
    let (_serving, address) = serve(&model.base_url(), Arc::clone(&ledger) as _, None, |_| {}).await;
    let body = request("x").to_string();
    let mut client = start(address, "POST", "/v1/messages", &token_header(), body.as_bytes()).await;
    while model.ledger().totals().completed == 0 {
        tokio::task::yield_now().await;
    }
    let mut early = vec![0_u8; 1 << 16];
    let mut seen = String::new();
    let reading = async {
        loop {
            let count = client.read(&mut early).await.unwrap();
            seen.push_str(&String::from_utf8_lossy(&early[..count]));
        }
    };
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(300), reading)
            .await
            .is_err()
    );
    assert!(!seen.contains("message_stop"), "{seen}");
    ledger.permits.add_permits(1);
    read_until(&mut client, "message_stop").await;
    assert!(ledger.memory.calls()[0].outcome.is_some());
}
