//! What `hostler serve` logs of a session's life where nobody watches: whose each line is, and nothing that was said.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_mins(1);
const ADMIN: &str = "hk_the-admin-key-of-this-test";
const QUESTION: &str = "what-the-user-asks";
const ANSWER: &str = "what-the-model-says";
const PRINTED: &str = "what-the-command-prints";

struct Serving {
    process: Child,
    address: String,
}

impl Serving {
    async fn start(directory: &Path) -> Self {
        let script = directory.join("script.json");
        let command = format!("echo {PRINTED}");
        let turns = json!([
            {"reply": [{"tool_use": {"name": "Bash", "input": {"command": command}}}]},
            {"reply": [{"text": ANSWER}]},
        ]);
        std::fs::write(&script, json!({"name": "logs", "turns": turns}).to_string()).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_hostler"))
            .args(["serve", "--listen", "127.0.0.1:0", "--pool", "0", "--simulate"])
            .arg(script)
            .arg("--data")
            .arg(directory.join("data"))
            .env("HOSTLER_API_KEY", ADMIN)
            .env_remove("HOSTLER_LOG")
            .env_remove("ANTHROPIC_API_KEY")
            .env_remove("ANTHROPIC_BASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = within(said.next_line()).await.unwrap().unwrap();
        let address = first.strip_prefix("export ANTHROPIC_BASE_URL=http://").unwrap();
        Self {
            address: address.to_owned(),
            process,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {ADMIN}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// The body of an answer that must be good.
    async fn call(&self, method: &str, path: &str, body: &Value) -> String {
        let mut stream = self.ask(method, path, &body.to_string()).await;
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{method} {path}: {answer}");
        body.to_owned()
    }

    /// Events from now on.
    async fn follow(&self, path: &str) -> Followed {
        let mut followed = Followed {
            stream: self.ask("GET", path, "").await,
            read: Vec::new(),
        };
        within(followed.until("\r\n\r\n")).await;
        followed
    }

    async fn made(&self, path: &str, body: Value) -> String {
        let made: Value = serde_json::from_str(&self.call("POST", path, &body).await).unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Ends it; what it said on standard error.
    async fn end(mut self) -> (ExitStatus, String) {
        let process = self.process.id().unwrap();
        let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        let mut said = String::new();
        let mut errors = self.process.stderr.take().unwrap();
        within(errors.read_to_string(&mut said)).await.unwrap();
        (within(self.process.wait()).await.unwrap(), said)
    }
}

/// A stream of events, and what has been read of it.
struct Followed {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Followed {
    async fn until(&mut self, words: &str) {
        while !String::from_utf8_lossy(&self.read).contains(words) {
            let read = self.stream.read_buf(&mut self.read).await.unwrap();
            assert!(
                read > 0,
                "the stream ended: {}",
                String::from_utf8_lossy(&self.read)
            );
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("what was waited for did not happen")
}

#[tokio::test]
async fn a_session_s_life_is_logged_by_request_and_session_and_without_keys_or_texts() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::start(directory.path()).await;
    let tools = json!([{"type": "agent_toolset_20260401"}]);
    let agent = json!({"name": "logged", "model": "claude-sonnet-5-5", "tools": tools});
    let agent = serving.made("/v1/agents", agent).await;
    let environment = serving.made("/v1/environments", json!({"name": "logged"})).await;
    let new = json!({"agent": agent, "environment_id": environment});
    let session = serving.made("/v1/sessions", new).await;
    let path = format!("/v1/sessions/{session}");
    let mut followed = serving.follow(&format!("{path}/events/stream")).await;
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": QUESTION}]});
    serving
        .call("POST", &format!("{path}/events"), &json!({"events": [message]}))
        .await;
    within(followed.until("end_turn")).await;
    let metrics = serving.call("GET", "/metrics", &Value::Null).await;
    for sample in [
        "hostler_sandbox_start_seconds_count 1\n",
        "hostler_session_first_model_request_seconds_count 1\n",
        "hostler_model_requests_total{outcome=\"completed\"} 2\n",
        "hostler_open_streams 1\n",
        "hostler_sessions{status=\"idle\"} 1\n",
        "hostler_sandboxes{state=\"idle\"} 1\n",
    ] {
        assert!(metrics.contains(sample), "{sample} in {metrics}");
    }
    assert!(
        !metrics.contains("hostler_event_append_lag_seconds_count 0\n"),
        "{metrics}"
    );
    serving.call("DELETE", &path, &Value::Null).await;
    let (status, said) = serving.end().await;
    assert!(status.success(), "{said}");

    for secret in [ADMIN, QUESTION, ANSWER, PRINTED, "hostler-session-"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
    let lines: Vec<Value> = said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_session = |line: &&Value| line["spans"][0]["session"] == session.as_str();
    for message in [
        "a turn began",
        "a turn ended",
        "a sandbox started",
        "a sandbox ended",
    ] {
        let mut told = lines.iter().filter(|line| line["message"] == message);
        assert!(
            told.next().as_ref().is_some_and(of_session),
            "{message} in {said}"
        );
        assert_eq!(told.next(), None, "{message} is told once: {said}");
    }
    let sent = lines.iter().filter(|line| {
        let span = &line["spans"][0];
        span["route"] == "/v1/sessions/{session_id}/events" && span["method"] == "POST"
    });
    let sent: Vec<&Value> = sent.collect();
    assert_eq!(sent.len(), 1, "{said}");
    assert!(of_session(&sent[0]), "{said}");
    assert_eq!(sent[0]["spans"][0]["key"], "admin");
    assert!(
        sent[0]["spans"][0]["request"]
            .as_str()
            .unwrap()
            .starts_with("req_")
    );
    assert_eq!(sent[0]["status"], 200);
}
