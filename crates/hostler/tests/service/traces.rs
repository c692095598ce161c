//! What `hostler serve` exports of turns to a collector that the standard variables of OpenTelemetry name.

mod collector;

use crate::serving::{ADMIN, Followed, Serving, command, within};
use collector::{Collector, Span};
use serde_json::{Value, json};
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

const QUESTION: &str = "what-the-user-asks";
const ANSWER: &str = "what-the-model-says";
const PRINTED: &str = "what-the-command-prints";
const NAME: &str = "what-somebody-calls-it";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn exporting(directory: &Path, turns: &Value, to: &str) -> Command {
    let script = json!({"name": "traces", "turns": turns});
    let mut command = command(directory, &script, &[]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", to)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b")
        .env("OTEL_SERVICE_NAME", "the-service")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

fn bash(says: &str) -> Value {
    let input = json!({"command": format!("echo {says}")});
    json!({"reply": [{"tool_use": {"name": "Bash", "input": input}}]})
}

fn toolset(permission: &str) -> Value {
    let configs = json!([{"name": "bash", "permission_policy": {"type": permission}}]);
    json!({"type": "agent_toolset_20260401", "configs": configs})
}

/// The path of a new session whose agent has these tools, and its events from now on.
async fn session(serving: &Serving, tools: Value) -> (String, Followed) {
    let agent = json!({"name": NAME, "model": "claude-sonnet-5-5", "tools": tools});
    let agent = serving.made("/v1/agents", agent).await;
    let environment = serving.made("/v1/environments", json!({"name": NAME})).await;
    let new = json!({"agent": agent, "environment_id": environment, "title": NAME});
    let path = format!("/v1/sessions/{}", serving.made("/v1/sessions", new).await);
    let followed = serving.follow(&format!("{path}/events/stream")).await;
    (path, followed)
}

async fn send(serving: &Serving, session: &str, event: Value) {
    let events = json!({"events": [event]});
    serving.call("POST", &format!("{session}/events"), &events).await;
}

fn message() -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": QUESTION}]})
}

/// Sends a message as a part of the caller's trace.
async fn send_traced(serving: &Serving, session: &str) {
    let body = json!({"events": [message()]}).to_string();
    let mut stream = TcpStream::connect(&serving.address).await.unwrap();
    let request = format!(
        "POST {session}/events HTTP/1.1\r\nhost: x\r\nx-api-key: {ADMIN}\r\nconnection: close\r\n\
         traceparent: 00-{TRACE}-{CALLER}-01\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// The id of the session's last event of a type.
async fn last_event(serving: &Serving, session: &str, kind: &str) -> String {
    let events = serving
        .call("GET", &format!("{session}/events"), &Value::Null)
        .await;
    let events: Value = serde_json::from_str(&events).unwrap();
    let mut events = events["data"].as_array().unwrap().iter();
    let found = events.rfind(|event| event["type"] == kind).unwrap();
    found["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn is_child(child: &Span, parent: &Span) {
    assert_eq!(child.trace(), parent.trace(), "{child:#?}");
    assert_eq!(child.parent(), parent.id(), "{child:#?}");
    assert!(child.began() <= child.ended() && parent.began() <= child.began());
}

#[tokio::test]
async fn a_turn_is_one_trace_with_its_request_sandbox_model_calls_and_tools() {
    let (directory, collector) = (tempfile::tempdir().unwrap(), Collector::start().await);
    let turns = json!([bash(PRINTED), {"reply": [{"text": ANSWER}]}]);
    let serving = Serving::of(exporting(directory.path(), &turns, &collector.url)).await;
    let (path, mut followed) = session(&serving, json!([toolset("always_allow")])).await;
    let session = path.trim_start_matches("/v1/sessions/");
    send_traced(&serving, &path).await;
    within(followed.until("end_turn")).await;
    let tool_use = last_event(&serving, &path, "agent.tool_use").await;
    let (status, said) = serving.end().await;
    assert!(status.success(), "{said}");

    let request = collector.span("POST /v1/sessions/{session_id}/events");
    assert_eq!((request.trace(), request.parent()), (TRACE, CALLER));
    assert_eq!(request.get("http.response.status_code"), "200");
    assert_eq!(request.get("hostler.session.id"), session);
    assert_eq!(request.resource("service.name"), "the-service");
    assert_eq!(request.resource("deployment.environment.name"), "test");

    let turn = collector.span("turn");
    is_child(&turn, &request);
    for (name, expected) in [
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.conversation.id", session),
        ("gen_ai.agent.version", "1"),
        ("gen_ai.request.model", "claude-sonnet-5-5"),
        ("hostler.workspace.id", "default"),
        ("hostler.stop_reason", "end_turn"),
    ] {
        assert_eq!(turn.get(name), expected, "{name}: {turn:#?}");
    }
    assert!(turn.get("gen_ai.agent.id").starts_with("agent_") && !turn.failed());

    let sandbox = collector.span("sandbox");
    is_child(&sandbox, &turn);
    assert_eq!(sandbox.get("hostler.sandbox.start"), "created");
    is_child(&collector.span("runtime"), &turn);

    let calls = collector.named("chat claude-sonnet-5-5");
    assert_eq!(calls.len(), 2, "{calls:#?}");
    let tokens = |span: &Span, kind| span.get(&format!("gen_ai.usage.{kind}")).parse::<u64>().unwrap();
    for call in &calls {
        is_child(call, &turn);
        assert_eq!(call.get("gen_ai.operation.name"), "chat");
        assert_eq!(call.get("http.response.status_code"), "200");
        assert_eq!(call.get("hostler.model_call.ended"), "completed");
        assert!(!call.get("gen_ai.response.time_to_first_chunk").is_empty());
        assert!(tokens(call, "input_tokens") > 0 && !call.failed(), "{call:#?}");
    }
    for kind in ["input_tokens", "output_tokens", "cache_read.input_tokens"] {
        let all: u64 = calls.iter().map(|call| tokens(call, kind)).sum();
        assert_eq!(tokens(&turn, kind), all, "{kind}");
    }

    let tool = collector.span("execute_tool bash");
    is_child(&tool, &turn);
    assert_eq!(tool.get("gen_ai.tool.call.id"), tool_use);
    assert_eq!(tool.get("hostler.tool.permission"), "allow");
    assert!(!tool.failed());

    let exported = collector.text();
    for secret in [ADMIN, QUESTION, ANSWER, PRINTED, NAME, "echo", "hostler-session-"] {
        assert!(!exported.contains(secret), "{secret} in {exported}");
    }
    for line in [
        "a turn began",
        "a turn ended",
        "a sandbox started",
        "a model call ended",
    ] {
        let told = said.lines().find(|told| told.contains(line));
        assert!(told.is_some_and(|told| told.contains(TRACE)), "{line} in {said}");
    }
    let answered = said
        .lines()
        .filter(|line| line.contains("\"answered\"") && line.contains(TRACE));
    assert_eq!(answered.count(), 1, "{said}");
}

#[tokio::test]
async fn what_waits_for_the_user_is_told_as_that() {
    let (directory, collector) = (tempfile::tempdir().unwrap(), Collector::start().await);
    let custom = json!({"reply": [{"tool_use": {"name": "weather", "input": {}}}]});
    let turns = json!([bash("one"), custom, {"reply": [{"text": ANSWER}]}]);
    let serving = Serving::of(exporting(directory.path(), &turns, &collector.url)).await;
    let schema = json!({"type": "object"});
    let weather =
        json!({"type": "custom", "name": "weather", "description": "of today", "input_schema": schema});
    let (path, mut followed) = session(&serving, json!([toolset("always_ask"), weather])).await;
    send(&serving, &path, message()).await;
    within(followed.until("requires_action")).await;
    let asked = last_event(&serving, &path, "agent.tool_use").await;
    let denied = json!({"type": "user.tool_confirmation", "tool_use_id": asked, "result": "deny"});
    send(&serving, &path, denied).await;
    within(followed.until("agent.custom_tool_use")).await;
    let custom = last_event(&serving, &path, "agent.custom_tool_use").await;
    // The turn waits for it before it may be answered.
    within(followed.until(&format!("[\"{custom}\"]"))).await;
    let result = json!({"type": "user.custom_tool_result", "custom_tool_use_id": custom,
        "content": [{"type": "text", "text": PRINTED}]});
    send(&serving, &path, result).await;
    within(followed.until("end_turn")).await;
    let (status, said) = serving.end().await;
    assert!(status.success(), "{said}");

    let turn = collector.span("turn");
    let confirmed = collector.span("execute_tool bash");
    let custom = collector.span("execute_tool weather");
    is_child(&confirmed, &turn);
    is_child(&custom, &turn);
    assert_eq!(confirmed.get("hostler.tool.permission"), "ask");
    assert!(confirmed.failed(), "it was denied: {confirmed:#?}");
    assert_eq!(custom.get("hostler.tool.kind"), "custom");
    assert!(!custom.failed());
    let waits = collector.named("approval");
    let told: Vec<[String; 2]> = waits
        .iter()
        .map(|wait| ["waits_for", "decision"].map(|name| wait.get(&format!("hostler.approval.{name}"))))
        .collect();
    assert_eq!(told, [["confirmation", "deny"], ["result", "result"]]);
    is_child(&waits[0], &confirmed);
    is_child(&waits[1], &custom);
    assert!(!collector.text().contains(PRINTED));
}

#[tokio::test]
async fn a_turn_that_waited_for_two_servers_is_resumed_in_its_trace() {
    let (directory, collector) = (tempfile::tempdir().unwrap(), Collector::start().await);
    let turns = json!([bash("one"), {"reply": [{"text": ANSWER}]}]);
    let first = Serving::of(exporting(directory.path(), &turns, &collector.url)).await;
    let (path, mut followed) = session(&first, json!([toolset("always_ask")])).await;
    send(&first, &path, message()).await;
    within(followed.until("requires_action")).await;
    first.signal(rustix::process::Signal::TERM);
    let (status, said) = first.ended().await;
    assert!(status.success(), "{said}");
    let left = collector.span("turn");
    assert_eq!(left.get("hostler.turn.left"), "true");
    assert!(collector.span("execute_tool bash").failed());

    let second = Serving::of(exporting(directory.path(), &turns, &collector.url)).await;
    let mut followed = second.follow(&format!("{path}/events/stream")).await;
    let asked = last_event(&second, &path, "agent.tool_use").await;
    let allowed = json!({"type": "user.tool_confirmation", "tool_use_id": asked, "result": "allow"});
    send(&second, &path, allowed).await;
    within(followed.until("end_turn")).await;
    let (status, said) = second.end().await;
    assert!(status.success(), "{said}");
    let turns = collector.named("turn");
    assert_eq!(turns.len(), 2, "{turns:#?}");
    let resumed = &turns[1];
    is_child(resumed, &left);
    assert_eq!(resumed.get("hostler.turn.resumed"), "true");
    assert_eq!(resumed.get("hostler.turn.id"), left.get("hostler.turn.id"));
    assert_eq!(resumed.links(), [left.id()]);
    assert_eq!(resumed.get("hostler.stop_reason"), "end_turn");
    let events = resumed.events("gen_ai.tool.call.id");
    let named = |name: &str| (name.to_owned(), asked.clone());
    assert_eq!(events, [named("approval"), named("execute_tool")]);
}

#[tokio::test]
async fn a_model_call_that_fails_says_how() {
    let (directory, collector) = (tempfile::tempdir().unwrap(), Collector::start().await);
    let fault = |status, times| {
        json!({"kind": "error", "status": status, "error_type": "api_error", "times": times,
            "message": PRINTED})
    };
    let mut tried_again = bash("one");
    tried_again["fault"] = fault(529, 1);
    let turns = json!([tried_again, {"reply": [{"text": ANSWER}], "fault": fault(400, 99)}]);
    let serving = Serving::of(exporting(directory.path(), &turns, &collector.url)).await;
    let (path, mut followed) = session(&serving, json!([toolset("always_allow")])).await;
    send(&serving, &path, message()).await;
    within(followed.until("retries_exhausted")).await;
    let (status, said) = serving.end().await;
    assert!(status.success(), "{said}");

    let turn = collector.span("turn");
    assert_eq!(turn.get("hostler.stop_reason"), "retries_exhausted");
    assert_eq!(turn.get("error.type"), "model_request_failed_error");
    assert!(turn.failed());
    let calls = collector.named("chat claude-sonnet-5-5");
    assert_eq!(calls.len(), 2, "{calls:#?}");
    assert_eq!(calls[0].get("http.request.resend_count"), "1");
    assert!(!calls[0].failed());
    assert_eq!(calls[1].get("http.response.status_code"), "400");
    assert_eq!(calls[1].get("error.type"), "400");
    assert!(calls[1].failed());
    assert!(!collector.text().contains(PRINTED));
}

#[tokio::test]
async fn a_collector_that_is_down_is_nobody_s_trouble() {
    let directory = tempfile::tempdir().unwrap();
    let turns = json!([bash("one"), {"reply": [{"text": ANSWER}]}]);
    let nobody = "http://127.0.0.1:9";
    let serving = Serving::of(exporting(directory.path(), &turns, nobody)).await;
    let (path, mut followed) = session(&serving, json!([toolset("always_allow")])).await;
    send(&serving, &path, message()).await;
    within(followed.until("end_turn")).await;
    let (status, said) = serving.end().await;
    assert!(status.success(), "{said}");
    assert!(said.contains("spans of traces were lost"), "{said}");
}

#[tokio::test]
async fn a_variable_that_cannot_be_used_is_named_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let turns = json!([{"reply": [{"text": ANSWER}]}]);
    let mut command = exporting(directory.path(), &turns, "http://127.0.0.1:4317");
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let output = within(command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && said.contains("http/protobuf"),
        "{said}"
    );
    assert!(!directory.path().join("data").exists());

    command.env("OTEL_SDK_DISABLED", "true");
    let serving = Serving::of(command).await;
    assert!(serving.end().await.0.success());
}
