//! The host's client of a guest.
//!
//! The peer is process 1 of a sandbox whose agent may have taken it over, so nothing it sends is believed: every call
//! ends by a deadline, every body and line has a limit, and numbers must follow each other. The client starts no task:
//! a connection moves only while a call or a stream of it is awaited. It keeps at most one idle connection.

mod connection;
mod error;
mod files;
mod lines;
mod streams;

pub use error::ClientError;
pub use streams::{ChangeStream, OutputStream};

use crate::{Ack, ErrorBody, Health, InputAck, Process, Signal, Spawn, Stats, TerminalSize, VERSION};
use bytes::Bytes;
use connection::{Answer, Connection};
use http::{Method, Request};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// For calls that the guest answers without waiting for anything.
const PROMPT: Duration = Duration::from_secs(10);

/// The guest gives up a blocked input before this.
const INPUT: Duration = Duration::from_secs(30);

/// The longest answer that is one JSON value, listings of directories aside.
const MAX_JSON_BYTES: usize = 1 << 20;

/// What stands unescaped in a path or query: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Cheap to clone; clones share the idle connection.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    socket: PathBuf,
    idle: Mutex<Option<Connection>>,
}

/// One call: what is asked, and how much and how long is waited for.
struct Call {
    name: &'static str,
    method: Method,
    target: String,
    limit: usize,
    deadline: Duration,
}

impl Call {
    fn new(name: &'static str, method: Method, target: impl Into<String>) -> Self {
        Self {
            name,
            method,
            target: target.into(),
            limit: MAX_JSON_BYTES,
            deadline: PROMPT,
        }
    }

    fn of_process(name: &'static str, method: Method, id: &str, rest: &str) -> Self {
        let id = percent_encode(id.as_bytes(), ESCAPED);
        Self::new(name, method, format!("/v1/processes/{id}{rest}"))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let late = ClientError::Deadline {
            call: self.name,
            after: self.deadline,
        };
        timeout(self.deadline, work).await.map_err(|_| late)?
    }
}

impl Client {
    /// A client of the guest that listens on `socket`. Connects at the first call.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                socket: socket.into(),
                idle: Mutex::new(None),
            }),
        }
    }

    /// Closes the idle connection. The next call opens another.
    pub fn rest(&self) {
        self.shared
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    pub async fn health(&self) -> Result<Health, ClientError> {
        self.ask(Call::new("health", Method::GET, "/v1/health")).await
    }

    /// Waits until the guest answers, and checks that its version is one that this host drives.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<Health, ClientError> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let call = Call {
                deadline: left,
                ..Call::new("wait_ready", Method::GET, "/v1/health")
            };
            match self.ask::<Health>(call).await {
                Ok(health) if health.version == VERSION || health.version == VERSION - 1 => {
                    return Ok(health);
                }
                Ok(health) => {
                    return Err(ClientError::Version {
                        guest: health.version,
                        host: VERSION,
                    });
                }
                Err(error) if !error.means_not_there_yet() || Instant::now() >= end => return Err(error),
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        }
    }

    pub async fn stats(&self) -> Result<Stats, ClientError> {
        self.ask(Call::new("stats", Method::GET, "/v1/stats")).await
    }

    /// Starts a process, or finds the one that an earlier call with the same id started.
    pub async fn spawn(&self, spawn: &Spawn) -> Result<Process, ClientError> {
        let call = Call {
            deadline: INPUT,
            ..Call::new("spawn", Method::POST, "/v1/processes")
        };
        self.tell(call, spawn).await
    }

    pub async fn processes(&self) -> Result<Vec<Process>, ClientError> {
        self.ask(Call::new("processes", Method::GET, "/v1/processes"))
            .await
    }

    pub async fn process(&self, id: &str) -> Result<Process, ClientError> {
        self.ask(Call::of_process("process", Method::GET, id, "")).await
    }

    pub async fn signal(&self, id: &str, signal: Signal) -> Result<(), ClientError> {
        self.tell(Call::of_process("signal", Method::POST, id, "/signal"), &signal)
            .await
            .map(nothing)
    }

    pub async fn resize(&self, id: &str, size: TerminalSize) -> Result<(), ClientError> {
        self.tell(Call::of_process("resize", Method::POST, id, "/resize"), &size)
            .await
            .map(nothing)
    }

    /// Writes input number `seq`, counted from 1. Waits while the process does not read; after a
    /// [`ClientError::is_retryable`] error the same number with the same data may be sent again and nothing is written
    /// twice.
    pub async fn input(&self, id: &str, seq: u64, data: Bytes, eof: bool) -> Result<InputAck, ClientError> {
        let eof = if eof { "&eof=true" } else { "" };
        let call = Call {
            deadline: INPUT,
            ..Call::of_process("input", Method::POST, id, &format!("/input?seq={seq}{eof}"))
        };
        let ack: InputAck = self.value(&call, data).await?;
        if ack.next_input_seq <= seq {
            return Err(ClientError::Deadline {
                call: call.name,
                after: call.deadline,
            });
        }
        Ok(ack)
    }

    /// The records after number `after`; with `follow` also those still to come, up to the exit.
    pub async fn output(&self, id: &str, after: u64, follow: bool) -> Result<OutputStream, ClientError> {
        let follow_query = if follow { "&follow=true" } else { "" };
        let rest = format!("/output?after={after}{follow_query}");
        let answer = self
            .open(&Call::of_process("output", Method::GET, id, &rest))
            .await?;
        Ok(OutputStream::new(answer, after, follow))
    }

    /// Lets the guest forget the records up to and including `seq`.
    pub async fn ack(&self, id: &str, seq: u64) -> Result<(), ClientError> {
        self.tell(Call::of_process("ack", Method::POST, id, "/ack"), &Ack { seq })
            .await
            .map(nothing)
    }

    /// Kills the process's group if it runs and forgets its output.
    pub async fn remove(&self, id: &str) -> Result<(), ClientError> {
        self.ask(Call::of_process("remove", Method::DELETE, id, ""))
            .await
            .map(nothing)
    }

    /// What changed in a dead sandbox's workspace. Only a change-set reader answers it.
    pub async fn changes(&self) -> Result<ChangeStream, ClientError> {
        Ok(ChangeStream::new(
            self.open(&Call::new("changes", Method::GET, "/v1/changes"))
                .await?,
        ))
    }

    async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        self.value(&call, Bytes::new()).await
    }

    async fn tell<T: DeserializeOwned>(&self, call: Call, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Malformed {
            call: call.name,
            reason: error.to_string(),
        })?;
        self.value(&call, Bytes::from(body)).await
    }

    async fn value<T: DeserializeOwned>(&self, call: &Call, body: Bytes) -> Result<T, ClientError> {
        let bytes = self.exchange(call, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Malformed {
            call: call.name,
            reason: error.to_string(),
        })
    }

    /// A call whose whole answer is read; its connection is kept for the next one.
    async fn exchange(&self, call: &Call, body: Bytes) -> Result<Bytes, ClientError> {
        call.within(async {
            let mut answer = self.send(call, body).await?;
            let bytes = answer.whole(call.limit).await?;
            let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
            *idle = Some(answer.into_connection());
            Ok(bytes)
        })
        .await
    }

    /// A call whose answer is read piece by piece, on a connection of its own.
    async fn open(&self, call: &Call) -> Result<Answer, ClientError> {
        call.within(self.send(call, Bytes::new())).await
    }

    /// Sends the request and waits for a head that says success.
    async fn send(&self, call: &Call, body: Bytes) -> Result<Answer, ClientError> {
        let request = Request::builder()
            .method(&call.method)
            .uri(&call.target)
            .header("host", "guest")
            .body(Full::new(body))
            .map_err(|error| ClientError::Malformed {
                call: call.name,
                reason: error.to_string(),
            })?;
        let mut answer = self.connection().await?.send(call.name, request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let body = answer.whole(MAX_JSON_BYTES).await?;
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => Err(ClientError::refused(call.name, &body.error)),
            Err(_) => Err(ClientError::Malformed {
                call: call.name,
                reason: format!("status {status}"),
            }),
        }
    }

    async fn connection(&self) -> Result<Connection, ClientError> {
        let idle = self
            .shared
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut connection) = idle
            && connection.is_alive().await
        {
            return Ok(connection);
        }
        Connection::open(&self.shared.socket).await
    }
}

/// The `{}` that calls without a result are answered with.
fn nothing(_: serde::de::IgnoredAny) {}
