//! `hostler serve` as its users have it: a process with an address, asked by hand over HTTP.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_mins(1);
pub const ADMIN: &str = "hk_the-admin-key-of-this-test";

pub struct Serving {
    pub process: Child,
    pub address: String,
    said: Lines<BufReader<ChildStdout>>,
    /// Read all the time: a server whose log nobody takes waits.
    log: JoinHandle<String>,
}

/// What a client may meet: no answer, or one that is not good.
#[derive(Debug)]
pub struct Trouble(pub String);

impl Serving {
    /// Plays a script of the simulated model on the data directory below this one, with more arguments.
    pub async fn start(directory: &Path, script: &Value, more: &[&str]) -> Self {
        Self::start_under(directory, script, more, None).await
    }

    /// The same, for a service manager that listens at a socket.
    pub async fn start_under(
        directory: &Path,
        script: &Value,
        more: &[&str],
        manager: Option<&Path>,
    ) -> Self {
        let mut command = command(directory, script, more);
        if let Some(manager) = manager {
            command.env("NOTIFY_SOCKET", manager);
        }
        Self::of(command).await
    }

    /// What a [`command`] starts.
    pub async fn of(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut errors = process.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut log = String::new();
            errors.read_to_string(&mut log).await.unwrap();
            log
        });
        let mut serving = Self {
            process,
            address: String::new(),
            said,
            log,
        };
        serving.address = serving.says_address().await;
        serving
    }

    /// The address that it, or who was started by it, says next.
    pub async fn says_address(&mut self) -> String {
        while let Some(line) = within(self.said.next_line()).await.unwrap() {
            if let Some(address) = line.strip_prefix("export ANTHROPIC_BASE_URL=http://") {
                return address.to_owned();
            }
        }
        panic!("it does not serve: {}", within(&mut self.log).await.unwrap());
    }

    /// The body of an answer that must be good.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> String {
        match call(&self.address, method, path, body).await {
            Ok(body) => body,
            Err(Trouble(trouble)) => panic!("{method} {path}: {trouble}"),
        }
    }

    /// What is said of a request that is refused.
    pub async fn refusal(&self, method: &str, path: &str, body: &Value) -> String {
        match call(&self.address, method, path, body).await {
            Ok(body) => panic!("{method} {path} was not refused: {body}"),
            Err(Trouble(trouble)) => trouble,
        }
    }

    /// Events from now on.
    pub async fn follow(&self, path: &str) -> Followed {
        let mut followed = Followed {
            stream: ask(&self.address, "GET", path, "").await.unwrap(),
            read: Vec::new(),
        };
        within(followed.until("\r\n\r\n")).await;
        followed
    }

    pub async fn made(&self, path: &str, body: Value) -> String {
        let made: Value = serde_json::from_str(&self.call("POST", path, &body).await).unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// A session of an agent with all tools.
    pub async fn session(&self) -> String {
        let tools = json!([{"type": "agent_toolset_20260401"}]);
        let agent = json!({"name": "tester", "model": "claude-sonnet-5-5", "tools": tools});
        let agent = self.made("/v1/agents", agent).await;
        let environment = self.made("/v1/environments", json!({"name": "plain"})).await;
        let new = json!({"agent": agent, "environment_id": environment});
        self.made("/v1/sessions", new).await
    }

    pub async fn say(&self, session: &str, text: &str) {
        let message = json!({"type": "user.message", "content": [{"type": "text", "text": text}]});
        let path = format!("/v1/sessions/{session}/events");
        self.call("POST", &path, &json!({"events": [message]})).await;
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = i32::try_from(self.process.id().unwrap()).unwrap();
        let process = rustix::process::Pid::from_raw(process).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Ends it; what it said on standard error.
    pub async fn end(self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::INT);
        self.ended().await
    }

    /// Waits for its end; what it said on standard error.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = within(self.process.wait()).await.unwrap();
        (status, within(self.log).await.unwrap())
    }
}

/// Plays a script of the simulated model on the data directory below this one, with more arguments.
pub fn command(directory: &Path, script: &Value, more: &[&str]) -> Command {
    let path = directory.join("script.json");
    std::fs::write(&path, script.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--pool", "0", "--simulate"])
        .arg(path)
        .arg("--data")
        .arg(directory.join("data"))
        .args(more)
        .env("HOSTLER_API_KEY", ADMIN)
        .env_remove("HOSTLER_LOG")
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("ANTHROPIC_BASE_URL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The body of a good answer.
pub async fn call(address: &str, method: &str, path: &str, body: &Value) -> Result<String, Trouble> {
    let trouble = |error: std::io::Error| Trouble(error.to_string());
    let mut stream = ask(address, method, path, &body.to_string())
        .await
        .map_err(trouble)?;
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer))
        .await
        .map_err(trouble)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(Trouble(format!("answered {answer:?}"))),
    }
}

async fn ask(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {ADMIN}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// A stream of events, and what has been read of it.
pub struct Followed {
    stream: TcpStream,
    pub read: Vec<u8>,
}

impl Followed {
    pub async fn until(&mut self, words: &str) {
        self.until_times(words, 1).await;
    }

    /// Waits until the words have come so often.
    pub async fn until_times(&mut self, words: &str, times: usize) {
        while self.text().matches(words).count() < times {
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let read = self.stream.read_buf(&mut self.read).await.unwrap();
        assert!(read > 0, "the stream ended: {}", self.text());
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("what was waited for did not happen")
}
