//! What an agent and an environment say of a session holds where it runs, and what clients send reaches it.

use crate::serving::{ADMIN, Serving, Trouble, call, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What the environment gives, as a program in it finds it.
const LOOK: &str = r#"python3 - <<'END'
import os, signal, subprocess, time
print("greeting", os.environ.get("GREETING"))
began = time.monotonic()
busy = [subprocess.Popen(["timeout", "2", "sh", "-c", "while :; do :; done"]) for _ in range(2)]
for process in busy:
    process.wait()
used = os.times()
print("share", (used.children_user + used.children_system) / (time.monotonic() - began))
children = []
try:
    while len(children) < 500:
        child = os.fork()
        if child == 0:
            time.sleep(600)
        children.append(child)
except OSError as error:
    print("refused", error.strerror)
for child in children:
    os.kill(child, signal.SIGKILL)
print("children", len(children))
END"#;

fn bash(command: &str) -> Value {
    json!({"reply": [{"tool_use": {"name": "Bash", "input": {"command": command}}}]})
}

fn repeat_result() -> Value {
    json!({"reply": [{"text": "{{last_tool_result}}"}]})
}

fn script(turns: &[Value]) -> Value {
    json!({"name": "served", "turns": turns})
}

async fn session(serving: &Serving, agent: Value, environment: Value) -> String {
    let mut named = json!({"name": "a", "model": "claude-sonnet-5-5"});
    named
        .as_object_mut()
        .unwrap()
        .extend(agent.as_object().unwrap().clone());
    let agent = serving.made("/v1/agents", named).await;
    let environment = json!({"name": "e", "hostler": environment});
    let environment = serving.made("/v1/environments", environment).await;
    let new = json!({"agent": agent, "environment_id": environment});
    format!("/v1/sessions/{}", serving.made("/v1/sessions", new).await)
}

fn saying(text: &str) -> Value {
    json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": text}]}]})
}

/// A stream from now on, of which only the end is kept.
struct Stream {
    stream: TcpStream,
    tail: Vec<u8>,
}

impl Stream {
    async fn open(serving: &Serving, session: &str) -> Self {
        let mut stream = TcpStream::connect(&serving.address).await.unwrap();
        let head = format!("GET {session}/events/stream HTTP/1.1\r\nhost: x\r\nx-api-key: {ADMIN}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let tail = Vec::new();
        let mut opened = Self { stream, tail };
        opened.until("\r\n\r\n").await;
        opened
    }

    async fn until(&mut self, words: &str) {
        within(async {
            let mut part = vec![0; 64 << 10];
            while !self
                .tail
                .windows(words.len())
                .any(|window| window == words.as_bytes())
            {
                let kept = self.tail.len().saturating_sub(1024);
                self.tail.drain(..kept);
                let read = self.stream.read(&mut part).await.unwrap();
                assert!(read > 0, "the stream ended");
                self.tail.extend_from_slice(&part[..read]);
            }
            self.tail.clear();
        })
        .await;
    }
}

/// The log after a message and what follows it.
async fn turn(serving: &Serving, session: &str, message: &Value) -> Vec<Value> {
    let mut stream = Stream::open(serving, session).await;
    serving.call("POST", &format!("{session}/events"), message).await;
    stream.until("event: session.status_idle").await;
    log(serving, session).await
}

async fn log(serving: &Serving, session: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let path = format!("{session}/events");
    let mut next = path.clone();
    loop {
        let page: Value = serde_json::from_str(&serving.call("GET", &next, &Value::Null).await).unwrap();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_page"].as_str() {
            Some(cursor) => next = format!("{path}?page={cursor}"),
            None => return all,
        }
    }
}

fn of<'a>(log: &'a [Value], kind: &str) -> Vec<&'a Value> {
    log.iter().filter(|event| event["type"] == kind).collect()
}

fn stop_reason(log: &[Value]) -> &Value {
    &of(log, "session.status_idle").last().unwrap()["stop_reason"]["type"]
}

#[tokio::test]
async fn an_environment_s_variables_and_limits_hold_in_a_session() {
    let directory = tempfile::tempdir().unwrap();
    let turns = [bash(LOOK), repeat_result()];
    let serving = Serving::start(directory.path(), &script(&turns), &[]).await;
    let environment = json!({"cpus": 0.25, "pids": 64, "env": {"GREETING": "from the environment"}});
    let tools = json!({"tools": [{"type": "agent_toolset_20260401"}]});
    let session = session(&serving, tools, environment).await;
    let log = turn(&serving, &session, &saying("look around")).await;
    let said = of(&log, "agent.message")[0]["content"][0]["text"]
        .as_str()
        .unwrap();
    let found = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {said}")).trim()
    };
    assert_eq!(found("greeting"), "from the environment");
    assert_eq!(found("refused"), "Resource temporarily unavailable");
    assert!((8..64).contains(&found("children").parse().unwrap()), "{said}");
    // An ordinary user may have no cgroup.
    if rustix::process::geteuid().is_root() {
        assert!(found("share").parse::<f64>().unwrap() < 0.6, "{said}");
    }
    assert!(serving.end().await.0.success());
}

#[tokio::test]
async fn an_agent_that_loops_is_stopped_after_its_turns() {
    let directory = tempfile::tempdir().unwrap();
    let turns: Vec<Value> = (0..10).map(|_| bash("true")).collect();
    let serving = Serving::start(directory.path(), &script(&turns), &[]).await;
    let agent = json!({"tools": [{"type": "agent_toolset_20260401"}], "hostler": {"max_turns": 3}});
    let session = session(&serving, agent, json!({})).await;
    let log = turn(&serving, &session, &saying("loop")).await;
    assert_eq!(of(&log, "span.model_request_end").len(), 3);
    assert_eq!(of(&log, "agent.tool_result").len(), 3);
    assert_eq!(of(&log, "session.error").len(), 1, "{log:#?}");
    assert!(serving.end().await.0.success());
}

#[tokio::test]
async fn a_message_of_20_megabytes_is_answered_and_so_is_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let turns: Vec<Value> = (0..4)
        .map(|_| json!({"reply": [{"text": "I have read it."}]}))
        .collect();
    let serving = Serving::start(directory.path(), &script(&turns), &[]).await;
    let session = session(&serving, json!({}), json!({})).await;
    let many_words = "word ".repeat(4_000_000);
    let log = turn(&serving, &session, &saying(&many_words)).await;
    assert_eq!(stop_reason(&log), "end_turn");
    let message = of(&log, "user.message")[0]["content"][0]["text"]
        .as_str()
        .unwrap();
    assert_eq!(message.len(), many_words.len());
    let log = turn(&serving, &session, &saying("and?")).await;
    assert_eq!(stop_reason(&log), "end_turn");
    assert_eq!(of(&log, "user.message").len(), 2);
    assert!(serving.end().await.0.success());
}

#[tokio::test]
async fn of_two_clients_that_confirm_one_call_one_is_heard() {
    let directory = tempfile::tempdir().unwrap();
    let turns = [bash("echo ran >> ran; wc -l < ran"), repeat_result()];
    let serving = Serving::start(directory.path(), &script(&turns), &[]).await;
    let asks = json!({"permission_policy": {"type": "always_ask"}});
    let tools = json!({"tools": [{"type": "agent_toolset_20260401", "default_config": asks}]});
    let session = session(&serving, tools, json!({})).await;
    let asked = turn(&serving, &session, &saying("run it")).await;
    assert_eq!(stop_reason(&asked), "requires_action");
    let mut stream = Stream::open(&serving, &session).await;
    let events = format!("{session}/events");
    let use_id = &of(&asked, "agent.tool_use")[0]["id"];
    let confirm = |result: &str| json!({"events": [{"type": "user.tool_confirmation", "tool_use_id": use_id, "result": result}]});
    let (one, other) = (confirm("allow"), confirm("allow"));
    let answers = tokio::join!(
        call(&serving.address, "POST", &events, &one),
        call(&serving.address, "POST", &events, &other),
    );
    let refused: Vec<Trouble> = [answers.0, answers.1]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert!(
        refused.len() == 1 && refused[0].0.contains("HTTP/1.1 400 "),
        "{refused:?}"
    );
    stream.until("event: session.status_idle").await;
    let log = log(&serving, &session).await;
    assert_eq!(of(&log, "user.tool_confirmation").len(), 1);
    assert_eq!(of(&log, "agent.tool_result").len(), 1);
    assert_eq!(of(&log, "agent.message")[0]["content"][0]["text"], "1");
    assert!(serving.end().await.0.success());
}
