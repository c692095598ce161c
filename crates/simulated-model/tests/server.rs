//! The simulated model over real sockets: what a client of the real API would see, byte by byte.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use simulated_model::{Options, Outcome, Script, Server};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(20);

struct Answer {
    status: u16,
    headers: String,
    /// Without the framing of chunks.
    body: Vec<u8>,
    /// Whether the body ended as its framing says.
    whole: bool,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Names and data of the events.
    fn events(&self) -> Vec<(String, Value)> {
        let text = std::str::from_utf8(&self.body).unwrap();
        let event = |block: &str| {
            let (name, data) = block.split_once('\n').unwrap();
            let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            (name.strip_prefix("event: ").unwrap().to_owned(), data)
        };
        text.split_terminator("\n\n").map(event).collect()
    }
}

async fn serve(script: &Value, options: Options) -> Server {
    let script = Script::parse(&script.to_string()).unwrap();
    Server::bind("127.0.0.1:0", script, options).await.unwrap()
}

async fn connect(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: model\r\nconnection: close\r\nanthropic-version: 2023-06-01\r\n\
         {headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn send(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = connect(server, method, path, headers, body).await;
    let mut raw = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut raw))
        .await
        .unwrap();
    // A connection that was cut may end with a reset.
    let _ = read;
    parse(&raw)
}

async fn ask(server: &Server, body: &Value) -> Answer {
    send(server, "POST", "/v1/messages", "", &body.to_string()).await
}

fn parse(raw: &[u8]) -> Answer {
    let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Answer {
            status: 0,
            headers: String::new(),
            body: Vec::new(),
            whole: false,
        };
    };
    let headers = String::from_utf8(raw[..end].to_vec()).unwrap();
    let status = headers[9..12].parse().unwrap();
    let rest = &raw[end + 4..];
    if !headers.contains("transfer-encoding: chunked") {
        return Answer {
            status,
            headers,
            body: rest.to_vec(),
            whole: true,
        };
    }
    let (body, whole) = dechunk(rest);
    Answer {
        status,
        headers,
        body,
        whole,
    }
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let available = rest.len().saturating_sub(end + 2).min(size);
        body.extend_from_slice(&rest[end + 2..end + 2 + available]);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
    (body, false)
}

fn request(messages: &Value) -> Value {
    json!({"model": "claude-opus-5-5", "max_tokens": 1000, "stream": true, "messages": messages})
}

fn first(prompt: &str) -> Value {
    request(&json!([{"role": "user", "content": prompt}]))
}

fn after_tool(output: &str, is_error: bool) -> Value {
    request(&json!([
        {"role": "user", "content": "run it"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": output, "is_error": is_error}
        ]},
    ]))
}

fn script(turns: &Value) -> Value {
    json!({"name": "test", "turns": turns})
}

async fn wait_for_outcome(server: &Server, outcome: Outcome) {
    let waiting = async {
        while !server
            .ledger()
            .entries()
            .iter()
            .any(|entry| entry.outcome == outcome)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap();
}

#[tokio::test]
async fn a_streamed_reply_has_the_events_of_the_real_api_in_their_order() {
    let turns = json!([{"reply": [
        {"thinking": "hm, well", "chunk": 4, "signature": "sig"},
        {"text": "abc", "chunk": 2},
        {"tool_use": {"name": "Bash", "input": {"command": "ls"}}},
    ]}]);
    let server = serve(&script(&turns), Options::default()).await;
    let answer = ask(&server, &first("hello")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers.contains("content-type: text/event-stream"));
    let events = answer.events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names.join(" "),
        "message_start content_block_start ping content_block_delta content_block_delta content_block_delta \
         content_block_stop content_block_start content_block_delta content_block_delta content_block_stop \
         content_block_start content_block_delta content_block_delta content_block_stop message_delta message_stop"
    );
    for (name, data) in &events {
        assert_eq!(data["type"], name.as_str());
    }
    assert_eq!(events[0].1["message"]["usage"]["output_tokens"], 1);
    assert_eq!(
        events[5].1["delta"],
        json!({"type": "signature_delta", "signature": "sig"})
    );
    assert_eq!(
        events[12].1["delta"],
        json!({"type": "input_json_delta", "partial_json": ""})
    );
    assert_eq!(events[13].1["delta"]["partial_json"], r#"{"command":"ls"}"#);
    assert_eq!(events[15].1["delta"]["stop_reason"], "tool_use");
}

#[tokio::test]
async fn the_same_reply_without_stream_is_one_message() {
    let turns =
        json!([{"reply": [{"text": "The answer"}], "usage": {"input_tokens": 7, "output_tokens": 9}}]);
    let server = serve(&script(&turns), Options::default()).await;
    let mut body = first("hello");
    body["stream"] = json!(false);
    let message = ask(&server, &body).await.json();
    assert_eq!(
        message["content"],
        json!([{"type": "text", "text": "The answer"}])
    );
    assert_eq!(message["stop_reason"], "end_turn");
    assert_eq!(
        (
            &message["usage"]["input_tokens"],
            &message["usage"]["output_tokens"]
        ),
        (&json!(7), &json!(9))
    );
}

#[tokio::test]
async fn a_retry_gets_the_same_bytes_and_the_next_request_the_next_turn() {
    let turns = json!([
        {"reply": [{"tool_use": {"name": "Bash", "input": {"command": "run {{last_user_text}}"}}}]},
        {"reply": [{"text": "It said: {{last_tool_result}}"}]},
    ]);
    let server = serve(&script(&turns), Options::default()).await;
    let (one, two) = (ask(&server, &first("it")).await, ask(&server, &first("it")).await);
    assert_eq!(one.body, two.body);
    assert!(String::from_utf8_lossy(&one.body).contains("run it"));
    let next = ask(&server, &after_tool("42 passed", false)).await;
    let texts: Vec<String> = next
        .events()
        .iter()
        .filter_map(|(_, data)| data["delta"]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(texts.concat(), "It said: 42 passed");
}

#[tokio::test]
async fn alternatives_are_chosen_by_what_the_tool_said() {
    let turns = json!([
        {"reply": [{"text": "start"}]},
        [
            {"when": {"last_tool_result_is_error": true}, "reply": [{"text": "failed"}]},
            {"when": {"last_tool_result_contains": "ok"}, "reply": [{"text": "good"}]},
        ],
    ]);
    let mut whole = script(&turns);
    whole["anytime"] = json!([{"when": {"system_contains": "title"}, "reply": [{"text": "A title"}]}]);
    let server = serve(&whole, Options::default()).await;
    let shown = |answer: Answer| String::from_utf8_lossy(&answer.body).into_owned();
    assert!(shown(ask(&server, &after_tool("ok", true)).await).contains("failed"));
    assert!(shown(ask(&server, &after_tool("all ok", false)).await).contains("good"));
    assert!(shown(ask(&server, &after_tool("odd", false)).await).contains("no reply"));
    let mut titled = first("x");
    titled["system"] = json!("Write a title");
    assert!(shown(ask(&server, &titled).await).contains("A title"));
}

#[tokio::test]
async fn alternatives_are_chosen_by_the_blocks_of_the_last_message() {
    let turns = json!([[
        {"when": {"last_user_has": "image"}, "reply": [{"text": "an image, and: {{last_user_line}}"}]},
        {"reply": [{"text": "words alone: {{last_user_line}}"}]},
    ]]);
    let server = serve(&script(&turns), Options::default()).await;
    let shown = |answer: Answer| String::from_utf8_lossy(&answer.body).into_owned();
    let mut request = first("a reminder\nlook");
    request["stream"] = json!(false);
    assert!(shown(ask(&server, &request).await).contains("words alone: look"));
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AA=="});
    request["messages"] = json!([{"role": "user", "content": [
        {"type": "text", "text": "a reminder\nlook"}, {"type": "image", "source": source}]}]);
    assert!(shown(ask(&server, &request).await).contains("an image, and: look"));
}

#[tokio::test]
async fn a_script_that_has_ended_says_so() {
    let server = serve(
        &script(&json!([{"reply": [{"text": "only"}]}])),
        Options::default(),
    )
    .await;
    let mut body = after_tool("x", false);
    body["stream"] = json!(false);
    let message = ask(&server, &body).await.json();
    assert!(
        message["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("has ended")
    );
    assert_eq!(server.ledger().entries()[0].turn, None);
}

#[tokio::test]
async fn errors_end_after_their_number_of_tries_for_each_session() {
    let fault = json!({"kind": "error", "status": 529, "error_type": "overloaded_error", "message": "Overloaded",
                       "retry_after_seconds": 1, "times": 2});
    let turns = json!([{"reply": [{"text": "at last"}], "fault": fault}]);
    let server = serve(&script(&turns), Options::default()).await;
    for session in [
        "x-claude-code-session-id: one\r\n",
        "x-claude-code-session-id: two\r\n",
    ] {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let answer = send(&server, "POST", "/v1/messages", session, &first("x").to_string()).await;
            if answer.status == 529 {
                assert!(answer.headers.contains("retry-after: 1"));
                assert_eq!(answer.json()["error"]["type"], "overloaded_error");
            }
            statuses.push(answer.status);
        }
        assert_eq!(statuses, [529, 529, 200]);
    }
}

#[tokio::test]
async fn connections_are_cut_where_the_script_says() {
    let turns = |fault: Value| {
        script(&json!([{"reply": [{"text": "a long enough text to be cut in it"}], "fault": fault}]))
    };
    let server = serve(
        &turns(json!({"kind": "drop", "after_events": 4})),
        Options::default(),
    )
    .await;
    let answer = ask(&server, &first("x")).await;
    assert!(!answer.whole);
    assert_eq!(answer.events().len(), 4);
    assert_eq!(server.ledger().entries()[0].outcome, Outcome::CutByScript);
    assert_eq!(server.ledger().entries()[0].sent.usage.unwrap().output_tokens, 1);

    let server = serve(&turns(json!({"kind": "close", "times": 1})), Options::default()).await;
    assert_eq!(ask(&server, &first("x")).await.status, 0);
    assert_eq!(ask(&server, &first("x")).await.status, 200);
}

#[tokio::test]
async fn malformed_and_failing_streams_are_played_as_written() {
    let turns = |fault: Value| script(&json!([{"reply": [{"text": "text"}], "fault": fault}]));
    let raw = json!({"kind": "raw", "after_events": 1, "text": "data: {broken\n\n"});
    let server = serve(&turns(raw), Options::default()).await;
    let answer = ask(&server, &first("x")).await;
    assert!(answer.whole && answer.body.ends_with(b"data: {broken\n\n"));

    let error = json!({"kind": "stream_error", "after_events": 3, "error_type": "overloaded_error", "message": "Overloaded"});
    let server = serve(&turns(error), Options::default()).await;
    let events = ask(&server, &first("x")).await.events();
    assert_eq!(events.len(), 4);
    assert_eq!(events[3].1["error"]["type"], "overloaded_error");
}

#[tokio::test]
async fn streams_without_end_end_when_the_client_leaves() {
    for fault in [
        json!({"kind": "endless", "after_events": 3, "what": "text"}),
        json!({"kind": "endless", "after_events": 0, "what": "line"}),
        json!({"kind": "endless", "after_events": 1, "what": "pings", "interval_ms": 1}),
        json!({"kind": "stall", "after_events": 2}),
    ] {
        let turns = json!([{"reply": [{"text": "text"}], "fault": fault}]);
        let server = serve(&script(&turns), Options::default()).await;
        let mut stream = connect(&server, "POST", "/v1/messages", "", &first("x").to_string()).await;
        let mut some = vec![0_u8; 100];
        tokio::time::timeout(DEADLINE, stream.read_exact(&mut some))
            .await
            .unwrap()
            .unwrap();
        drop(stream);
        wait_for_outcome(&server, Outcome::CutByClient).await;
    }
}

#[tokio::test]
async fn a_huge_reply_is_made_as_it_is_read() {
    let turns = json!([{"reply": [{"repeat": {"text": "0123456789", "times": 200_000}}]}]);
    let server = serve(&script(&turns), Options::default()).await;
    let answer = ask(&server, &first("x")).await;
    assert!(answer.whole);
    assert_eq!(answer.events().len(), 200_006);
    assert_eq!(server.ledger().totals().usage.output_tokens, 500_000);
}

#[tokio::test]
async fn what_the_real_api_refuses_is_refused() {
    let mut whole = script(&json!([{"reply": [{"text": "x"}]}]));
    whole["models"] = json!(["claude-opus-5-5"]);
    let server = serve(
        &whole,
        Options {
            api_key: Some("sk-real".to_owned()),
            ..Options::default()
        },
    )
    .await;
    let key = "x-api-key: sk-real\r\n";
    let good = first("x").to_string();
    let mut other_model = first("x");
    other_model["model"] = json!("gpt-9");
    let mut no_limit = first("x");
    no_limit["max_tokens"] = Value::Null;
    for (path, headers, body, status, kind) in [
        ("/v1/messages", "", good.as_str(), 401, "authentication_error"),
        (
            "/v1/messages",
            "authorization: Bearer wrong\r\n",
            good.as_str(),
            401,
            "authentication_error",
        ),
        ("/v1/messages", key, "{", 400, "invalid_request_error"),
        (
            "/v1/messages",
            key,
            &no_limit.to_string(),
            400,
            "invalid_request_error",
        ),
        (
            "/v1/messages",
            key,
            &other_model.to_string(),
            404,
            "not_found_error",
        ),
        ("/v1/complete", key, "{}", 404, "not_found_error"),
    ] {
        let answer = send(&server, "POST", path, headers, body).await;
        assert_eq!(answer.status, status, "{path} {body}");
        assert_eq!(answer.json()["error"]["type"], kind);
        assert!(answer.json()["request_id"].is_string());
    }
    let bearer = "authorization: Bearer sk-real\r\n";
    assert_eq!(
        send(&server, "POST", "/v1/messages", bearer, &good).await.status,
        200
    );
    let counted = send(
        &server,
        "POST",
        "/v1/messages/count_tokens?beta=true",
        key,
        &no_limit.to_string(),
    )
    .await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
    let models = send(&server, "GET", "/v1/models", key, "").await.json();
    assert_eq!(models["data"][0]["id"], "claude-opus-5-5");
}

#[tokio::test]
async fn the_ledger_holds_every_request_and_no_credential() {
    let server = serve(&script(&json!([{"reply": [{"text": "x"}]}])), Options::default()).await;
    let headers = "x-api-key: sk-very-secret\r\nx-claude-code-session-id: s1\r\n";
    send(
        &server,
        "POST",
        "/v1/messages",
        headers,
        &first("hello").to_string(),
    )
    .await;
    let shown = send(&server, "GET", "/_simulated/ledger", "", "").await;
    assert!(!String::from_utf8_lossy(&shown.body).contains("sk-very-secret"));
    let shown = shown.json();
    assert_eq!(shown["totals"]["completed"], 1);
    let entry = &shown["entries"][0];
    assert_eq!(
        (
            &entry["session"],
            &entry["outcome"],
            &entry["last_user_text"],
            &entry["turn"]
        ),
        (
            &json!("s1"),
            &json!("completed"),
            &json!("hello"),
            &json!("turns[0][0]")
        )
    );
}

#[tokio::test]
async fn the_prompt_cache_holds_what_the_conversation_held() {
    let turns = json!([{"reply": [{"text": "x"}]}, {"reply": [{"text": "y"}]}]);
    let server = serve(&script(&turns), Options::default()).await;
    let mut body = after_tool(&"output ".repeat(100), false);
    body["stream"] = json!(false);
    body["system"] =
        json!([{"type": "text", "text": "s".repeat(4000), "cache_control": {"type": "ephemeral"}}]);
    let usage = ask(&server, &body).await.json()["usage"].clone();
    assert!(
        usage["cache_read_input_tokens"].as_u64().unwrap() >= 1000,
        "{usage}"
    );
    assert!(
        usage["cache_creation_input_tokens"].as_u64().unwrap() > 100,
        "{usage}"
    );
    assert_eq!(
        usage["cache_creation"]["ephemeral_5m_input_tokens"],
        usage["cache_creation_input_tokens"]
    );
    assert!(usage["input_tokens"].as_u64().unwrap() < 10, "{usage}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_are_played_at_once() {
    let turns = json!([{"reply": [{"text": "some words in a row", "chunk": 4}], "chunk_delay_ms": 20,
                        "first_byte_delay_ms": 100}]);
    let server = serve(&script(&turns), Options::default()).await;
    let server = std::sync::Arc::new(server);
    let mut sessions = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let server = std::sync::Arc::clone(&server);
        sessions.spawn(async move { ask(&server, &first(&format!("session {number}"))).await });
    }
    while let Some(answer) = sessions.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.whole && answer.status == 200);
    }
    assert_eq!(server.ledger().totals().completed, 1000);
}

#[tokio::test]
async fn stopping_cuts_what_does_not_end() {
    let turns = json!([{"reply": [{"text": "x"}], "fault": {"kind": "stall", "after_events": 1}}]);
    let server = serve(&script(&turns), Options::default()).await;
    let address = server.address();
    let mut stream = connect(&server, "POST", "/v1/messages", "", &first("x").to_string()).await;
    let mut some = [0_u8; 10];
    stream.read_exact(&mut some).await.unwrap();
    tokio::time::timeout(DEADLINE, server.stop()).await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_search_is_two_blocks_and_is_counted() {
    let script = json!({"name": "search", "anytime": [
        {"when": {"has_tool": "web_search", "last_user_text_contains": "busy"},
         "reply": [{"web_search": {"query": "again", "error": "max_uses_exceeded"}}]}],
        "turns": [{"reply": [
            {"web_search": {"results": [{"title": "Rust", "url": "https://rust-lang.org", "page_age": "1 day"}]}},
            {"text": "Found."}]}]});
    let server = serve(&script, Options::default()).await;
    let answer = ask(&server, &first("what is Rust")).await;
    let events = answer.events();
    let starts: Vec<&Value> = events
        .iter()
        .filter(|(name, _)| name == "content_block_start")
        .map(|(_, data)| &data["content_block"])
        .collect();
    assert_eq!(starts[0]["type"], "server_tool_use");
    assert_eq!(starts[1]["type"], "web_search_tool_result");
    assert_eq!(starts[1]["tool_use_id"], starts[0]["id"]);
    assert_eq!(starts[1]["content"][0]["url"], "https://rust-lang.org");
    let input: String = events
        .iter()
        .filter(|(_, data)| data["index"] == 0)
        .filter_map(|(_, data)| data["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(input, json!({"query": "what is Rust"}).to_string());
    let delta = &events[events.len() - 2].1;
    assert_eq!(delta["usage"]["server_tool_use"]["web_search_requests"], 1);
    assert_eq!(delta["delta"]["stop_reason"], "end_turn");
    let mut busy = first("busy");
    busy["stream"] = json!(false);
    busy["tools"] = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    let message = ask(&server, &busy).await.json();
    assert_eq!(
        message["content"][1]["content"]["error_code"],
        "max_uses_exceeded"
    );
    assert_eq!(server.ledger().totals().usage.web_search_requests, 2);
}
