//! Sessions over a `WebSocket`, on real connections.

use crate::running::Running;
use crate::sessions::message;
use crate::{ADMIN, ENDLESS};
use domain::WorkspaceId;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use server::{Limits, Rates};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// For what has to happen.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

type Socket = WebSocketStream<TcpStream>;
type Header<'a> = (&'static str, &'a str);

impl Running {
    /// A handshake with the admin key, or with other headers in its place.
    async fn shake(
        &self,
        query: &str,
        headers: &[Header<'_>],
    ) -> Result<(Socket, Option<HeaderValue>), Response<Option<Vec<u8>>>> {
        let url = format!(
            "ws://{}/host/v1/sessions/{}/events/ws{query}",
            self.address, self.session
        );
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        match timeout(PATIENCE, client_async(request, stream))
            .await
            .expect("it is answered")
        {
            Ok((socket, answer)) => Ok((socket, answer.headers().get("sec-websocket-protocol").cloned())),
            Err(Error::Http(refused)) => Err(*refused),
            Err(error) => panic!("{error}"),
        }
    }

    async fn socket(&self, query: &str) -> Socket {
        self.shake(query, &[("x-api-key", ADMIN)]).await.unwrap().0
    }
}

async fn send(socket: &mut Socket, value: &Value) {
    socket.send(Message::text(value.to_string())).await.unwrap();
}

/// The next frame that is not a ping.
async fn next(socket: &mut Socket) -> Message {
    loop {
        let next = timeout(PATIENCE, socket.next()).await.expect("a frame comes");
        match next.expect("the connection is open").unwrap() {
            Message::Ping(_) => {}
            other => return other,
        }
    }
}

async fn value(socket: &mut Socket) -> Value {
    match next(socket).await {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The answer to a frame, whatever events come before it.
async fn answer(socket: &mut Socket) -> Value {
    loop {
        let value = value(socket).await;
        if value["type"] == "sent" || value["type"] == "error" {
            return value;
        }
    }
}

async fn closed(socket: &mut Socket) -> CloseCode {
    loop {
        match next(socket).await {
            Message::Close(frame) => return frame.expect("it says why").code,
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn kind_of(answer: &Value) -> &str {
    answer["error"]["type"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn what_is_sent_is_answered_and_follows_as_events_that_the_log_has() {
    let running = Running::new().await;
    let mut socket = running.socket("").await;
    send(&mut socket, &message("hello")).await;
    let mut values = Vec::new();
    while !values.iter().any(|value: &Value| value["type"] == "sent")
        || !values.iter().any(|value: &Value| value["type"] == "user.message")
    {
        values.push(value(&mut socket).await);
    }
    let find = |kind: &str| values.iter().find(|value| value["type"] == kind).unwrap();
    let sent = find("sent")["data"].as_array().unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["id"], find("user.message")["id"]);
    let event = sent[0]["id"].as_str().unwrap();
    let mut later = running.socket(&format!("?after={event}")).await;
    let following = value(&mut later).await;
    assert_eq!(following["type"], "session.status_running");
}

#[tokio::test]
async fn a_bad_frame_is_answered_in_the_api_s_shape_and_the_connection_stays() {
    let running = Running::new().await;
    let mut socket = running.socket("").await;
    let table = [
        ("", "the body is empty"),
        ("{\"events\": [", "is not JSON"),
        ("[]", "must be an object"),
        ("{\"events\": []}", "must have at least one event"),
        ("{\"events\": [{\"type\": \"agent.message\"}]}", "events[0].type"),
        (
            "{\"events\": [{\"type\": \"user.message\", \"content\": [{\"type\": \"text\", \"text\": \"\\u0000\"}]}]}",
            "NUL",
        ),
    ];
    let mut ids = Vec::new();
    for (frame, expected) in table {
        socket.send(Message::text(frame)).await.unwrap();
        let answer = value(&mut socket).await;
        assert_eq!(kind_of(&answer), "invalid_request_error", "{answer}");
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(said.contains(expected), "{said}");
        let id = answer["request_id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("req_") && !ids.contains(&id));
        ids.push(id);
    }
    send(&mut socket, &message("still there")).await;
    assert_eq!(answer(&mut socket).await["type"], "sent");
}

#[tokio::test]
async fn a_message_may_come_in_fragments_with_pings_between() {
    let running = Running::new().await;
    let mut socket = running.socket("").await;
    let text = message(&"x".repeat(100_000)).to_string();
    let parts: Vec<&[u8]> = text.as_bytes().chunks(30_000).collect();
    for (index, part) in parts.iter().enumerate() {
        let data = if index == 0 { Data::Text } else { Data::Continue };
        let is_last = index + 1 == parts.len();
        let frame = Frame::message(part.to_vec(), OpCode::Data(data), is_last);
        socket.send(Message::Frame(frame)).await.unwrap();
        socket.send(Message::Ping("p".into())).await.unwrap();
    }
    let mut sent = false;
    let mut pongs = 0;
    while !sent || pongs == 0 {
        match next(&mut socket).await {
            Message::Pong(payload) => {
                assert_eq!(&payload[..], b"p");
                pongs += 1;
            }
            Message::Text(text) => sent |= text.contains("\"type\":\"sent\""),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_text_frame_closes_with_its_code() {
    let running = Running::new().await;
    let mut binary = running.socket("").await;
    binary.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(closed(&mut binary).await, CloseCode::Unsupported);
    let mut not_utf8 = running.socket("").await;
    let frame = Frame::message(vec![0xff], OpCode::Data(Data::Text), true);
    not_utf8.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(closed(&mut not_utf8).await, CloseCode::Invalid);
    let mut unmasked = running.socket("").await;
    unmasked.get_mut().write_all(b"\x81\x02{}").await.unwrap();
    assert_eq!(closed(&mut unmasked).await, CloseCode::Protocol);
    let mut large = running.socket("").await;
    // A head that announces 64 MiB.
    let head = b"\x81\xff\0\0\0\0\x04\0\0\0mask";
    large.get_mut().write_all(head).await.unwrap();
    assert_eq!(closed(&mut large).await, CloseCode::Size);
}

#[tokio::test]
async fn each_frame_counts_as_a_request() {
    let rates = Rates { other: 3, ..ENDLESS };
    let running = Running::with(Limits::default(), rates).await;
    let mut socket = running.socket("").await;
    for _ in 0..2 {
        socket.send(Message::text("{}")).await.unwrap();
        assert_eq!(kind_of(&value(&mut socket).await), "invalid_request_error");
    }
    socket.send(Message::text("{}")).await.unwrap();
    assert_eq!(kind_of(&value(&mut socket).await), "rate_limit_error");
}

#[tokio::test]
async fn a_key_may_come_as_a_protocol_and_is_not_said_back() {
    let running = Running::new().await;
    let offered = format!("hostler, key.{ADMIN}");
    let protocol = |offered: &str| [("sec-websocket-protocol", offered.to_owned())];
    let shaken = protocol(&offered);
    let (_, chosen) = running.shake("", &[(shaken[0].0, &shaken[0].1)]).await.unwrap();
    assert_eq!(chosen.unwrap(), "hostler");
    let wrong = protocol("hostler, key.hk_wrong");
    let refused = running.shake("", &[(wrong[0].0, &wrong[0].1)]).await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let alone = protocol(&format!("key.{ADMIN}"));
    let refused = running.shake("", &[(alone[0].0, &alone[0].1)]).await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_handshake_that_is_refused_says_why_in_the_api_s_shape() {
    let running = Running::new().await;
    let key = ("x-api-key", ADMIN);
    let table: [(&str, &[Header<'_>], u16, &str); 7] = [
        ("", &[], 401, "a key is needed"),
        ("", &[key, ("sec-websocket-version", "8")], 426, "must be 13"),
        ("", &[key, ("sec-websocket-key", "short")], 400, "16 bytes"),
        ("", &[key, ("sec-websocket-protocol", "chat")], 400, "`hostler`"),
        ("", &[key, ("upgrade", "h2c")], 426, "upgrade: websocket"),
        ("?after=sevt_x", &[key], 400, "after: is not the id of an event"),
        ("?event_deltas[]=user.message", &[key], 400, "event_deltas[]"),
    ];
    for (query, headers, status, expected) in table {
        let refused = running.shake(query, headers).await.unwrap_err();
        assert_eq!(refused.status(), status, "{expected}");
        let id = refused.headers()["request-id"].to_str().unwrap().to_owned();
        let body: Value = serde_json::from_slice(refused.body().as_ref().unwrap()).unwrap();
        assert_eq!(
            (body["type"].as_str(), body["request_id"].as_str()),
            (Some("error"), Some(&*id))
        );
        let said = body["error"]["message"].as_str().unwrap();
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_session_that_is_deleted_closes_with_1000() {
    let running = Running::new().await;
    let mut socket = running.socket("").await;
    let workspace = WorkspaceId::default();
    let deleting = running.hosted().delete(&workspace, &running.session);
    deleting.await.unwrap();
    assert_eq!(closed(&mut socket).await, CloseCode::Normal);
}

#[tokio::test]
async fn a_server_that_ends_closes_with_1001_and_does_not_wait() {
    let running = Running::new().await;
    let mut socket = running.socket("").await;
    running.ending.cut();
    assert_eq!(closed(&mut socket).await, CloseCode::Away);
    drop(socket);
    timeout(PATIENCE, running.task).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_client_that_closes_is_answered() {
    let running = Running::new().await;
    let mut socket = running.socket("").await;
    socket.close(None).await.unwrap();
    while let Some(message) = timeout(PATIENCE, socket.next()).await.expect("it ends") {
        message.unwrap();
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_sends_no_more_and_hears_no_more() {
    let running = Running::new().await;
    let keys = running.api.resources.keys();
    let mut opened = Vec::new();
    for _ in 0..2 {
        let created = keys.create(wire::keys::Create::default()).await.unwrap();
        let headers = [("x-api-key", created.secret.as_str())];
        let (socket, _) = running.shake("", &headers).await.unwrap();
        opened.push((created.key.id, socket));
    }
    let (_, mut other) = opened.pop().unwrap();
    let (revoked, mut socket) = opened.pop().unwrap();
    keys.revoke(&revoked).await.unwrap();
    assert_eq!(closed(&mut socket).await, CloseCode::Policy);
    send(&mut other, &message("hello")).await;
    assert_eq!(answer(&mut other).await["type"], "sent");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_cut() {
    let limits = Limits {
        ping: SHORT,
        silence: 3 * SHORT,
        ..Limits::default()
    };
    let running = Running::with(limits, ENDLESS).await;
    let mut socket = running.socket("").await;
    // Below the WebSocket nothing answers.
    let silent = socket.get_mut();
    let mut read = Vec::new();
    timeout(PATIENCE, silent.read_to_end(&mut read))
        .await
        .expect("it is cut")
        .unwrap();
    assert!(read.starts_with(&[0x89, 0]), "a ping comes first: {read:?}");
}

#[tokio::test]
async fn a_message_that_does_not_arrive_ends_its_connection() {
    let limits = Limits {
        ping: SHORT,
        body_deadline: SHORT,
        ..Limits::default()
    };
    let running = Running::with(limits, ENDLESS).await;
    let mut socket = running.socket("").await;
    let part = Frame::message(&b"{"[..], OpCode::Data(Data::Text), false);
    socket.send(Message::Frame(part)).await.unwrap();
    // Pings are answered all the while.
    assert_eq!(closed(&mut socket).await, CloseCode::Policy);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let limits = Limits {
        silence: SHORT,
        ..Limits::default()
    };
    let running = Running::with(limits, ENDLESS).await;
    let mut stuck = running.socket("").await;
    let frame = message(&"x".repeat(1 << 20)).to_string();
    let sending = async { while stuck.send(Message::text(&frame)).await.is_ok() {} };
    timeout(PATIENCE, sending).await.expect("it is cut");
    let mut other = running.socket("").await;
    other.send(Message::text("{}")).await.unwrap();
    assert_eq!(kind_of(&answer(&mut other).await), "invalid_request_error");
}

#[tokio::test]
async fn a_reader_that_was_slow_is_told_so_and_misses_no_event() {
    let running = Running::new().await;
    let mut slow = running.socket("").await;
    let large_text = "x".repeat(1 << 20);
    for index in 0..24 {
        running.say(&format!("{index} {large_text}")).await;
    }
    let log = running.rests_after(24).await;
    let mut told = Vec::new();
    let mut was_behind = false;
    while told.len() < log.len() {
        let value = value(&mut slow).await;
        if value["type"] == "ping" {
            assert_eq!(value, json!({"type": "ping", "behind": true}));
            was_behind = true;
        } else {
            told.push(value["id"].clone());
        }
    }
    assert!(was_behind);
    let listed: Vec<Value> = log.iter().map(|event| event["id"].clone()).collect();
    assert_eq!(told, listed);
}
