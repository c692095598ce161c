//! What passes, passes as it is; and what passed is what is counted.

use crate::harness::{
    KEY, TOKEN, closed_calls, model, not_streamed, post, raw_upstream, reply, request, send, serve, stack,
    stack_with, token_header,
};
use domain::{PriceTable, Usage};
use gateway::{Ended, MemoryLedger};
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn an_answer_is_the_same_with_and_without_the_gateway() {
    let script = json!({"name": "test", "turns": [{"reply": [
        {"thinking": "hm, \u{e9}\u{1f600}"},
        {"text": "One\r\n\r\ntwo \"message_stop\" three"},
        {"tool_use": {"name": "Bash", "input": {"command": "printf 'a\\n'"}}},
    ]}]});
    let unknown_tool = json!({"model": "claude-opus-5-5", "max_tokens": 5, "messages": [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "y"}]}]});
    for body in [request("hello"), not_streamed("hello"), unknown_tool] {
        let direct = model(&script).await;
        let headers = format!("x-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n");
        let bytes = body.to_string();
        let one = send(
            direct.address(),
            "POST",
            "/v1/messages",
            &headers,
            bytes.as_bytes(),
        )
        .await;
        let two = stack(&script).await.ask(&body).await;
        assert_eq!(one.text(), two.text());
        assert!(one.whole && two.whole);
        assert_eq!(one.status, two.status);
        for name in ["content-type", "request-id"] {
            let line = |headers: &str| {
                headers
                    .lines()
                    .find(|line| line.starts_with(name))
                    .map(str::to_owned)
            };
            assert_eq!(line(&one.headers), line(&two.headers));
            assert!(line(&one.headers).is_some());
        }
    }
}

#[tokio::test]
async fn a_request_s_body_query_and_headers_reach_the_upstream_as_they_are() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}".to_vec();
    let (url, upstream) = raw_upstream(vec![answer]).await;
    let ledger = Arc::new(MemoryLedger::default());
    let (_serving, address) = serve(&format!("{url}/base/"), ledger, None, |_| {}).await;
    let body = b"{ \"model\" : \"claude-opus-5-5\",\n\t\"x\":[1.0,1e5,\"\\u00e9\"] }\n";
    let headers = format!(
        "authorization: Bearer {TOKEN}\r\nanthropic-beta: one,two\r\nuser-agent: claude-cli/2\r\n\
         x-claude-code-session-id: s1\r\naccept-encoding: gzip, br\r\ncookie: a=b\r\n"
    );
    send(address, "POST", "/v1/messages?beta=true", &headers, body).await;
    let seen = upstream.await.unwrap();
    let split = seen.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert_eq!(&seen[split + 4..], body);
    let head = String::from_utf8(seen[..split].to_vec()).unwrap();
    assert!(
        head.starts_with("POST /base/v1/messages?beta=true HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "anthropic-beta: one,two",
        "user-agent: claude-cli/2",
        "x-claude-code-session-id: s1",
        "accept-encoding: identity",
        &format!("x-api-key: {KEY}"),
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    for part in ["cookie", TOKEN, "authorization", "gateway"] {
        assert!(!head.contains(part), "{part} is in {head}");
    }
}

#[tokio::test]
async fn what_is_metered_is_what_the_model_reported() {
    let script = json!({"name": "test", "turns": [{"reply": [{"text": "some words"}], "usage": {
        "input_tokens": 11, "output_tokens": 222, "cache_read_input_tokens": 3333,
        "cache_creation_5m_input_tokens": 44, "cache_creation_1h_input_tokens": 5}}]});
    let stack = stack(&script).await;
    for number in 0..10 {
        let prompt = format!("prompt {number}");
        let body = if number % 2 == 0 {
            request(&prompt)
        } else {
            not_streamed(&prompt)
        };
        assert_eq!(stack.ask(&body).await.status, 200);
    }
    let usage = Usage {
        input_tokens: 11,
        output_tokens: 222,
        cache_read_input_tokens: 3333,
        cache_creation_5m_input_tokens: 44,
        cache_creation_1h_input_tokens: 5,
        web_search_requests: 0,
    };
    let cost = PriceTable::built_in().cost("claude-opus-5-5", &usage).unwrap();
    for call in closed_calls(&stack.ledger, 10).await {
        let outcome = call.outcome.unwrap();
        assert_eq!(
            (outcome.ended, outcome.usage, outcome.estimated),
            (Ended::Completed, usage, false)
        );
        assert_eq!(
            (outcome.cost, outcome.attempts, outcome.status),
            (Some(cost), 1, Some(200))
        );
        assert_eq!(outcome.model.as_deref(), Some("claude-opus-5-5"));
        assert!(outcome.request_id.is_some());
    }
    let reported = stack.model.ledger().totals().usage;
    let metered = stack.serving.usage();
    assert_eq!(
        (
            metered.input_tokens,
            metered.output_tokens,
            metered.cache_read_input_tokens
        ),
        (
            reported.input_tokens,
            reported.output_tokens,
            reported.cache_read_input_tokens
        )
    );
    assert_eq!(stack.serving.spent().nano_usd, cost.nano_usd * 10);
}

#[tokio::test]
async fn requests_beside_the_conversation_cost_nothing() {
    let stack = stack(&reply("x")).await;
    let headers = token_header();
    let body = request("count me").to_string();
    let counted = send(
        stack.address,
        "POST",
        "/v1/messages/count_tokens?beta=true",
        &headers,
        body.as_bytes(),
    )
    .await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
    let models = send(stack.address, "GET", "/v1/models", &headers, b"").await;
    assert_eq!(models.json()["data"][0]["type"], "model");
    assert_eq!(
        send(stack.address, "HEAD", "/api/hello", "", b"").await.status,
        200
    );
    for (method, path) in [
        ("POST", "/v1/files"),
        ("GET", "/v1/messages"),
        ("GET", "/_simulated/ledger"),
        ("GET", "/"),
    ] {
        let (status, kind, _) = send(stack.address, method, path, &headers, b"").await.error();
        assert_eq!(
            (status, kind.as_str()),
            (404, "not_found_error"),
            "{method} {path}"
        );
    }
    assert!(stack.ledger.calls().is_empty());
}

#[tokio::test]
async fn requests_that_reach_outside_through_the_model_api_are_refused_unless_they_are_granted() {
    let with = |tool: &str| {
        let mut body = request("look it up");
        body["tools"] = json!([{"type": tool, "name": "web"}]);
        body
    };
    let stack = stack(&reply("x")).await;
    for tool in ["web_fetch_20250910", "web_search_20250305"] {
        let (status, _, message) = stack.ask(&with(tool)).await.error();
        assert_eq!(status, 400);
        assert!(message.contains(tool), "{message}");
    }
    assert_eq!(stack.model.ledger().totals().requests, 0);
    stack.serving.set_web_search(true);
    assert_eq!(stack.ask(&with("web_search_20250305")).await.status, 200);
    assert_eq!(stack.ask(&with("web_fetch_20250910")).await.status, 400);
    stack.serving.set_web_search(false);
    assert_eq!(stack.ask(&with("web_search_20250305")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_calls_at_once_are_all_counted() {
    let script = json!({"name": "test", "turns": [{"reply": [{"text": "some words in a row", "chunk": 4}],
        "first_byte_delay_ms": 200, "chunk_delay_ms": 5, "usage": {"output_tokens": 7}}]});
    let stack = stack_with(&script, None, |config| {
        config.limits.concurrent_calls = 1000;
        config.limits.connections = 1000;
    })
    .await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..500 {
        let address = stack.address;
        calls.spawn(async move { post(address, &request(&format!("call {number}"))).await });
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.whole && answer.status == 200, "{answer:?}");
    }
    let calls = closed_calls(&stack.ledger, 500).await;
    assert!(
        calls
            .iter()
            .all(|call| call.outcome.as_ref().unwrap().ended == Ended::Completed)
    );
    assert_eq!(stack.serving.usage().output_tokens, 500 * 7);
    assert_eq!(stack.model.ledger().totals().completed, 500);
}
