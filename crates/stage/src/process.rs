//! The server's process: started, asked where it serves, killed or told to end.

use crate::{Api, Failure, Place};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const PATIENCE: Duration = Duration::from_mins(2);
const ADMIN_KEY: &str = "the-admin-key-of-this-bench";
/// What the simulated model is told; it takes any.
const MODEL_KEY: &str = "sk-simulated";
const EXPORT: &str = "export ANTHROPIC_BASE_URL=";
/// Of a log that is shown.
const LOG_BYTES: usize = 4 << 10;

/// How a server is started, again and again.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The hostler binary.
    pub program: PathBuf,
    pub data: PathBuf,
    pub log: PathBuf,
    /// The model's base URL.
    pub model: String,
    /// Where it listens; a port of 0 is replaced by the one that it was given.
    pub listen: String,
    pub pool: u32,
}

impl Setup {
    /// As it is unless it is asked for otherwise.
    pub const POOL: u32 = 8;

    pub fn new(program: &Path, place: &Place, model: &str) -> Self {
        Self {
            program: program.to_owned(),
            data: place.data(),
            log: place.log(),
            model: model.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            pool: Self::POOL,
        }
    }

    /// Answers when the server serves.
    pub async fn start(&mut self) -> Result<Server, Failure> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|source| Failure::File {
                path: self.log.clone(),
                source,
            })?;
        let mut command = Command::new(&self.program);
        for name in ["HOSTLER_URL", "HOSTLER_DATA", "HOSTLER_LISTEN", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        let child = command
            .args([
                "serve",
                "--listen",
                &self.listen,
                "--pool",
                &self.pool.to_string(),
            ])
            .arg("--data")
            .arg(&self.data)
            .env("HOSTLER_API_KEY", ADMIN_KEY)
            .env("ANTHROPIC_BASE_URL", &self.model)
            .env("ANTHROPIC_API_KEY", MODEL_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|source| Failure::Run { source })?;
        let Some(stdout) = child.stdout.take() else {
            return Err(self.not_serving("it has no standard output"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = match first {
            Ok(Ok(Some(line))) => line,
            Ok(_) => return Err(self.not_serving("it ended")),
            Err(_) => return Err(self.not_serving(&format!("it said nothing for {PATIENCE:?}"))),
        };
        let Some(url) = line.strip_prefix(EXPORT) else {
            return Err(self.not_serving(&format!("it said {line:?}")));
        };
        url.trim_start_matches("http://").clone_into(&mut self.listen);
        Ok(Server {
            url: url.to_owned(),
            child,
            _output: lines,
        })
    }

    fn not_serving(&self, reason: &str) -> Failure {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = text.floor_char_boundary(text.len().saturating_sub(LOG_BYTES));
        Failure::NotServing {
            reason: reason.to_owned(),
            log: text[from..].to_owned(),
        }
    }
}

/// A server that serves. Killed when dropped; its sandboxes are when its place is.
pub struct Server {
    url: String,
    child: Child,
    /// What it still says is not read, and not refused.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// A client with the admin key.
    pub fn admin(&self) -> Result<Api, Failure> {
        Api::new(&self.url, ADMIN_KEY)
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Without a word. A server that was gone before, or that ended in another way, is a failure.
    pub async fn kill(mut self) -> Result<(), Failure> {
        let failed = |source| Failure::Run { source };
        if let Some(status) = self.child.try_wait().map_err(failed)? {
            return Err(Failure::Ended { status });
        }
        self.child.start_kill().map_err(failed)?;
        let status = self.child.wait().await.map_err(failed)?;
        if status.signal() == Some(Signal::KILL.as_raw()) {
            Ok(())
        } else {
            Err(Failure::Ended { status })
        }
    }

    /// With all its sandboxes.
    pub async fn end(mut self) -> Result<(), Failure> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            kill_process(pid, Signal::INT).map_err(|errno| Failure::Run { source: errno.into() })?;
        }
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(ended) => ended.map(drop).map_err(|source| Failure::Run { source }),
            Err(_) => Err(Failure::NotEnding {
                seconds: PATIENCE.as_secs(),
            }),
        }
    }
}
