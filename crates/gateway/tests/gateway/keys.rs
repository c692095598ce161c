//! The real key stays outside, whatever the upstream does; the session's token stays inside.

use crate::harness::{KEY, TOKEN, raw_upstream, reply, request, send, serve, stack, token_header};
use gateway::{Config, Credential, Gateway, MemoryLedger, Secret, Upstream};
use std::sync::Arc;

#[tokio::test]
async fn only_the_session_s_token_opens_the_gateway() {
    let stack = stack(&reply("x")).await;
    let body = request("hello").to_string();
    for headers in [
        String::new(),
        format!("x-api-key: {KEY}\r\n"),
        "x-api-key: \r\n".to_owned(),
        format!("x-api-key: {}\r\n", &TOKEN[..TOKEN.len() - 1]),
        format!("authorization: Basic {TOKEN}\r\n"),
        "authorization: Bearer wrong\r\n".to_owned(),
    ] {
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            let (status, kind, _) = send(stack.address, "POST", path, &headers, body.as_bytes())
                .await
                .error();
            assert_eq!(
                (status, kind.as_str()),
                (401, "authentication_error"),
                "{headers}"
            );
        }
    }
    assert_eq!(
        send(stack.address, "GET", "/v1/models", "", b"").await.status,
        401
    );
    assert_eq!(stack.model.ledger().totals().requests, 0);
    let bearer = format!("authorization: Bearer {TOKEN}\r\nanthropic-version: 2023-06-01\r\n");
    assert_eq!(
        send(stack.address, "POST", "/v1/messages", &bearer, body.as_bytes())
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_key_is_not_seen_even_if_the_upstream_repeats_it() {
    let error =
        format!(r#"{{"type":"error","error":{{"type":"authentication_error","message":"bad key {KEY}"}}}}"#);
    let whole = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nanthropic-echo: {KEY}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{error}",
        error.len()
    );
    let event = format!("event: ping\ndata: {{\"type\":\"ping\",\"key\":\"{KEY}\"}}\n\n");
    let middle = event.find(KEY).unwrap() + KEY.len() / 2;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let streamed = vec![
        head.as_bytes().to_vec(),
        event[..middle].into(),
        event[middle..].into(),
        event.clone().into(),
    ];
    for (pieces, marks) in [(vec![whole.into_bytes()], 1), (streamed, 2)] {
        let (url, upstream) = raw_upstream(pieces).await;
        let (_serving, address) = serve(&url, Arc::new(MemoryLedger::default()), None, |_| {}).await;
        let body = request("x").to_string();
        let answer = send(address, "POST", "/v1/messages", &token_header(), body.as_bytes()).await;
        let seen = format!("{}{}", answer.headers, answer.text());
        assert!(!seen.contains(KEY) && !seen.contains("sk-ant"), "{seen}");
        assert_eq!(seen.matches("[redacted]").count(), marks, "{seen}");
        assert!(String::from_utf8_lossy(&upstream.await.unwrap()).contains(KEY));
    }
}

#[tokio::test]
async fn what_the_upstream_says_of_its_models_is_asked_with_the_key_and_told_without_it() {
    let gateway = |url: &str| {
        let upstream = Upstream::new(url, Credential::ApiKey(Secret::new(KEY))).unwrap();
        Gateway::new(Config::new(upstream), Arc::new(MemoryLedger::default()))
    };
    let answer = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            .into_bytes()
    };
    let body = format!("{{\"data\": [], \"key\": \"{KEY}\"}}");
    let (url, upstream) = raw_upstream(vec![answer("200 OK", &body)]).await;
    let told = gateway(&url).describe("/v1/models?limit=2").await.unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(
        told.starts_with("{\"data\": [], \"key\": ") && !told.contains(KEY),
        "{told}"
    );
    let asked = String::from_utf8(upstream.await.unwrap()).unwrap();
    assert!(
        asked.starts_with("GET /v1/models?limit=2 HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains(&format!("x-api-key: {KEY}\r\n")), "{asked}");

    let (url, _upstream) = raw_upstream(vec![answer("404 Not Found", "{}")]).await;
    assert_eq!(gateway(&url).describe("/v1/models").await, None);
    assert_eq!(gateway("http://127.0.0.1:9").describe("/v1/models").await, None);
}
