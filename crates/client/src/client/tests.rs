//! A client and servers of every kind, on loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use super::*;
use crate::{EventQuery, Record, SessionQuery};
use domain::SessionId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wire::page::Order;
use wire::{Body, ContentBlock};

/// Of a server that is not going to say anything.
const SOON: Duration = Duration::from_millis(100);

/// What a server does when it has said what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    KeepSilent,
}

/// A server that answers one request; it gives what it was asked.
async fn server(answer: impl Into<String>, then: Then) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
    let answer = answer.into();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        if then == Then::KeepSilent {
            // Until the client leaves.
            while stream.read_u8().await.is_ok() {}
        }
        asked
    });
    let deadlines = match then {
        Then::Close => Deadlines::default(),
        Then::KeepSilent => Deadlines {
            answer: SOON,
            silence: SOON,
        },
    };
    (
        Client::new(&url, "hk_x").unwrap().with_deadlines(deadlines),
        serving,
    )
}

async fn request(stream: &mut TcpStream) -> String {
    let mut asked = Vec::new();
    loop {
        assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
        let text = String::from_utf8_lossy(&asked).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

async fn asked(answer: impl Into<String>) -> (String, Result<Value, ClientError>) {
    let (client, serving) = server(answer, Then::Close).await;
    let read = client.post("/v1/x", &json!({"a": 1})).await;
    (serving.await.unwrap(), read)
}

fn answer(status: &str, length: usize, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn good(body: &str) -> String {
    answer("200 OK", body.len(), "application/json", body)
}

#[tokio::test]
async fn a_request_has_the_key_and_the_prefix_and_a_good_answer_is_read() {
    let (asked, read) = asked(good("{\"b\": 2}")).await;
    assert!(asked.starts_with("POST /prefix/v1/x HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Bearer hk_x\r\n"), "{asked}");
    assert!(!asked.contains("anthropic-workspace-id"), "{asked}");
    assert_eq!(read.unwrap(), json!({"b": 2}));
}

#[tokio::test]
async fn what_is_not_good_is_told_apart() {
    let error = r#"{"type":"error","error":{"type":"not_found_error","message":"no","details":{"error_code":"x_not_found"}},"request_id":"r"}"#;
    let (_, refused) = asked(answer("404 Not Found", error.len(), "application/json", error)).await;
    let Err(ClientError::Refused {
        status,
        message,
        code,
        request_id,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (status, message.as_str(), code.as_deref(), request_id.as_deref()),
        (404, "no", Some("x_not_found"), Some("r"))
    );
    for (status, html) in [("502 Bad Gateway", "<html>"), ("200 OK", "<html>")] {
        let (_, read) = asked(answer(status, 6, "text/html; charset=utf-8", html)).await;
        let Err(error @ ClientError::NotOurs { .. }) = read else {
            panic!("{read:?}");
        };
        assert!(error.to_string().contains("it sent a web page"), "{error}");
        assert_eq!(error.may_pass(), status.starts_with('5'));
    }
    let (_, cut) = asked(answer("200 OK", 100, "application/json", "{")).await;
    assert!(matches!(cut, Err(ClientError::Cut)), "{cut:?}");
    let (_, other) = asked(good("x]")).await;
    assert!(matches!(other, Err(ClientError::Answer { .. })), "{other:?}");
    let (_, none) = asked("").await;
    assert!(matches!(none, Err(ClientError::Unreachable(_))), "{none:?}");
}

#[tokio::test]
async fn what_a_server_says_of_an_error_is_cut_to_what_anybody_reads() {
    let error =
        json!({"type": "error", "error": {"type": "api_error", "message": "x".repeat(1 << 20)}}).to_string();
    let (_, refused) = asked(answer("500 Oh", error.len(), "application/json", &error)).await;
    assert!(refused.unwrap_err().to_string().len() <= 2000);
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up_at_any_point() {
    let stalled = |answer: &'static str| async move {
        let (client, _serving) = server(answer, Then::KeepSilent).await;
        client.get::<Value>("/v1/x").await.unwrap_err()
    };
    for (answer, what) in [
        ("", "did not answer within"),
        ("HTTP/1.1 200 OK\r\ncontent-", "did not answer within"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", "did not go on"),
    ] {
        let error = stalled(answer).await;
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let text = format!("{error}: {}", source.unwrap_or_default());
        assert!(text.contains(what) && error.may_pass(), "{answer:?}: {text}");
    }
}

#[tokio::test]
async fn an_answer_of_any_length_is_read_to_the_limit_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        for head in ["text/event-stream", "application/json"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            request(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {head}\r\nconnection: close\r\n\r\n[");
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b' '; 1 << 20];
            while stream.write_all(&piece).await.is_ok() {}
        }
    });
    let client = Client::new(&url, "k").unwrap();
    let id = SessionId::random();
    let mut records = client.follow(&id, None).await.unwrap();
    let endless = records.next().await;
    assert!(matches!(endless, Err(ClientError::Answer { .. })), "{endless:?}");
    drop(records);
    let huge = client.get::<Value>("/v1/x").await;
    assert!(matches!(huge, Err(ClientError::Answer { .. })), "{huge:?}");
    serving.await.unwrap();
}

#[test]
fn urls_and_keys_are_checked_before_anything_is_sent() {
    for url in [
        "",
        "127.0.0.1",
        "localhost:8700",
        "/x",
        "http://",
        "ftp://x",
        "http://a b",
    ] {
        assert!(
            matches!(Client::new(url, "k"), Err(UrlError::Url { .. })),
            "{url}"
        );
    }
    for url in ["http://user:secret@x", "http://x/?a=b"] {
        let Err(error @ UrlError::Besides) = Client::new(url, "k") else {
            panic!("{url}");
        };
        assert!(!error.to_string().contains("secret"));
    }
    for key in ["", "a\nb", "a b", "schl\u{fc}ssel"] {
        assert!(
            matches!(Client::new("http://x", key), Err(UrlError::Key)),
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn a_list_is_asked_for_with_its_filters_and_given_as_it_was_written() {
    let (client, serving) = server(
        good(r#"{"data": [{"z": 1,  "a": 2}], "next_page": "n"}"#),
        Then::Close,
    )
    .await;
    let query = SessionQuery {
        statuses: vec![domain::SessionStatus::Idle, domain::SessionStatus::Running],
        include_archived: true,
        limit: 3,
        ..SessionQuery::default()
    };
    let page = client
        .in_workspace(&"team-a".parse().unwrap())
        .sessions(&query, Some("p="))
        .await
        .unwrap();
    let asked = serving.await.unwrap();
    let first = asked.lines().next().unwrap();
    assert_eq!(
        first,
        "GET /prefix/v1/sessions?limit=3&statuses%5B%5D=idle&statuses%5B%5D=running&include%5Farchived=true&page=p%3D HTTP/1.1"
    );
    assert!(asked.contains("anthropic-workspace-id: team-a\r\n"), "{asked}");
    assert_eq!(page.data[0].get(), r#"{"z": 1,  "a": 2}"#);
    assert_eq!(page.next_page.as_deref(), Some("n"));

    let (client, serving) = server(good(r#"{"data": [], "next_page": null}"#), Then::Close).await;
    let query = EventQuery {
        types: vec!["agent.message".to_owned()],
        order: Order::Desc,
        limit: 1,
    };
    let id = SessionId::random();
    assert!(client.events(&id, &query, None).await.unwrap().data.is_empty());
    let asked = serving.await.unwrap();
    assert!(
        asked.starts_with(&format!(
            "GET /prefix/v1/sessions/{id}/events?limit=1&order=desc&types%5B%5D=agent%2Emessage HTTP/1.1"
        )),
        "{asked}"
    );
}

#[tokio::test]
async fn events_are_sent_as_the_api_names_them() {
    let (client, serving) = server(good(r#"{"data": [{"id": "e"}]}"#), Then::Close).await;
    let message = Body::UserMessage {
        content: vec![ContentBlock::text("hi")],
    };
    let sent = client.send(&SessionId::random(), &[message]).await.unwrap();
    assert_eq!(sent[0].get(), r#"{"id": "e"}"#);
    let asked = serving.await.unwrap();
    let body: Value = serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        body,
        json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": "hi"}]}]})
    );
}

fn stream(records: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{records}")
}

#[tokio::test]
async fn a_stream_goes_on_after_the_event_that_is_named() {
    let records = "event: ping\ndata: {}\n\nid: sevt_1\nevent: agent.message\ndata: {\"a\": 1}\n\nevent: event_start\ndata: {}\n\n";
    let (client, serving) = server(stream(records), Then::Close).await;
    let after = domain::EventId::random();
    let mut records = client.follow(&SessionId::random(), Some(&after)).await.unwrap();
    let next = records.next().await.unwrap().unwrap();
    assert_eq!(
        next,
        Record {
            id: Some("sevt_1".to_owned()),
            kind: "agent.message".to_owned(),
            json: "{\"a\": 1}".to_owned(),
        }
    );
    assert_eq!(records.next().await.unwrap().unwrap().kind, "event_start");
    assert_eq!(records.next().await.unwrap(), None);
    let asked = serving.await.unwrap();
    assert!(asked.contains(&format!("last-event-id: {after}\r\n")), "{asked}");
}

#[tokio::test]
async fn a_stream_that_breaks_says_how() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"it broke\"}}\n\n";
    let opened = |answer: String, then| async move {
        let (client, _serving) = server(answer, then).await;
        match client.follow(&SessionId::random(), None).await {
            Ok(mut records) => records.next().await.map(drop).unwrap_err(),
            Err(error) => error,
        }
    };
    let said = opened(stream(error), Then::Close).await;
    assert!(
        matches!(&said, ClientError::Stream { message } if message == "it broke"),
        "{said:?}"
    );
    let silent = opened(stream(""), Then::KeepSilent).await;
    assert!(matches!(silent, ClientError::Silent { .. }), "{silent:?}");
    let chunked =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nda";
    let cut = opened(chunked.to_owned(), Then::Close).await;
    assert!(matches!(cut, ClientError::Cut), "{cut:?}");
    let page = opened(answer("200 OK", 6, "text/html", "<html>"), Then::Close).await;
    assert!(
        matches!(page, ClientError::NotOurs { status: 200, .. }),
        "{page:?}"
    );
    let refused = r#"{"type":"error","error":{"type":"not_found_error","message":"no"}}"#;
    let refused = opened(
        answer("404 Not Found", refused.len(), "application/json", refused),
        Then::Close,
    )
    .await;
    assert!(refused.is_status(404) && !refused.may_pass(), "{refused:?}");
}
