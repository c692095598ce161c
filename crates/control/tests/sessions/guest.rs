//! A guest in this process: the guest API on a Unix socket, with scripted runtimes in place of programs.
//!
//! It lives on when its host goes away, as a guest does, and can be made to fail in the ways that a guest can.

use crate::runtime::{Line, Script};
use bytes::Bytes;
use guest_protocol::{
    Ack, ErrorBody, ErrorKind, Exit, Health, InputAck, OutputRecord, Payload, Process, ProcessState, Signal,
    Spawn, Stream,
};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone)]
pub struct Guest {
    pub socket: PathBuf,
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    script: Script,
    tasks: Mutex<JoinSet<()>>,
    connections: Mutex<Vec<AbortHandle>>,
    server: Mutex<Option<AbortHandle>>,
    /// The connection breaks when the next process has been started.
    lose_spawn_answer: AtomicBool,
}

#[derive(Default)]
struct State {
    processes: BTreeMap<String, Running>,
    files: BTreeMap<String, Bytes>,
    spawned: Vec<Spawn>,
    removed: Vec<String>,
    signals: Vec<i32>,
}

struct Running {
    output: watch::Sender<Vec<OutputRecord>>,
    input: mpsc::UnboundedSender<Line>,
    next_input_seq: u64,
    /// Bytes of an unfinished input line.
    rest: Vec<u8>,
    acknowledged: u64,
    task: AbortHandle,
}

/// The runtime's end of a process.
#[derive(Clone)]
pub struct Output(watch::Sender<Vec<OutputRecord>>);

impl Output {
    pub fn line(&self, text: impl Into<Vec<u8>>) {
        self.data(Stream::Stdout, text.into(), 0);
    }

    pub fn data(&self, stream: Stream, bytes: Vec<u8>, cut_bytes: u64) {
        self.push(Payload::Output(guest_protocol::Data::new(
            stream, bytes, cut_bytes,
        )));
    }

    pub fn exit(&self, exit: Exit) {
        self.push(Payload::Exit(exit));
    }

    fn push(&self, payload: Payload) {
        self.0.send_modify(|records| {
            let over = records
                .last()
                .is_some_and(|last| matches!(last.payload, Payload::Exit(_)));
            if !over {
                records.push(OutputRecord {
                    seq: records.len() as u64 + 1,
                    payload,
                });
            }
        });
    }
}

impl Guest {
    pub fn start(socket: &Path, script: Script) -> Self {
        let inner = Inner {
            state: Mutex::default(),
            script,
            tasks: Mutex::default(),
            connections: Mutex::default(),
            server: Mutex::default(),
            lose_spawn_answer: AtomicBool::new(false),
        };
        let guest = Self {
            socket: socket.to_owned(),
            inner: Arc::new(inner),
        };
        guest.listen();
        guest
    }

    /// Answers on the socket again.
    pub fn listen(&self) {
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).unwrap();
        let guest = self.clone();
        let server = self.inner.tasks.lock().unwrap().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = guest.clone();
                let connection = guest.inner.tasks.lock().unwrap().spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let guest = served.clone();
                        async move { Ok::<_, Infallible>(guest.answer(request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
                guest.inner.connections.lock().unwrap().push(connection);
            }
        });
        *self.inner.server.lock().unwrap() = Some(server);
    }

    /// Breaks every connection; new ones are taken.
    pub fn cut_connections(&self) {
        self.inner
            .connections
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|connection| connection.abort());
    }

    /// Takes no more connections; what runs goes on.
    pub fn hide(&self) {
        self.inner.server.lock().unwrap().take().unwrap().abort();
        let _ = std::fs::remove_file(&self.socket);
        self.cut_connections();
    }

    /// Everything ends, as when the sandbox is destroyed.
    pub fn kill(&self) {
        self.hide_if_there();
        let state = self.state();
        state.processes.values().for_each(|process| process.task.abort());
    }

    fn hide_if_there(&self) {
        if self.inner.server.lock().unwrap().is_some() {
            self.hide();
        }
    }

    pub fn lose_spawn_answer(&self) {
        self.inner.lose_spawn_answer.store(true, Ordering::SeqCst);
    }

    /// The number of the newest output record of all processes.
    pub fn last_output(&self) -> usize {
        let state = self.inner.state.lock().unwrap();
        let records = state
            .processes
            .values()
            .map(|process| process.output.borrow().len());
        records.max().unwrap_or(0)
    }

    pub fn spawned(&self) -> Vec<Spawn> {
        self.state().spawned.clone()
    }

    pub fn signals(&self) -> Vec<i32> {
        self.state().signals.clone()
    }

    /// A process ends, and is removed by a host that tells nobody.
    pub fn forget(&self, process: &str) {
        let process = self.state().processes.remove(process);
        process.unwrap().task.abort();
    }

    pub fn removed(&self) -> Vec<String> {
        self.state().removed.clone()
    }

    pub fn file(&self, path: &str) -> Option<Bytes> {
        self.state().files.get(path).cloned()
    }

    pub fn put_file(&self, path: &str, content: &str) {
        self.state()
            .files
            .insert(path.to_owned(), Bytes::from(content.to_owned()));
    }

    pub fn acknowledged(&self, process: &str) -> u64 {
        self.state()
            .processes
            .get(process)
            .map_or(0, |process| process.acknowledged)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let method = request.method().as_str().to_owned();
        let path = request.uri().path().to_owned();
        let query: BTreeMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        let body = request
            .into_body()
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["health"]) => json(&Health {
                version: guest_protocol::VERSION,
                processes: 0,
            }),
            ("POST", ["processes"]) => {
                let answer = self.spawn(serde_json::from_slice(&body).unwrap());
                if self.inner.lose_spawn_answer.swap(false, Ordering::SeqCst) {
                    self.cut_connections();
                    std::future::pending::<()>().await;
                }
                answer
            }
            ("GET", ["processes", id]) => self.process(id),
            ("POST", ["processes", id, "input"]) => self.input(id, query["seq"].parse().unwrap(), &body),
            ("GET", ["processes", id, "output"]) => self.output(id, query["after"].parse().unwrap()),
            ("POST", ["processes", id, "ack"]) => {
                let ack: Ack = serde_json::from_slice(&body).unwrap();
                self.with(id, |process| {
                    process.acknowledged = process.acknowledged.max(ack.seq);
                })
            }
            ("POST", ["processes", id, "signal"]) => {
                let signal: Signal = serde_json::from_slice(&body).unwrap();
                self.state().signals.push(signal.signal);
                self.with(id, |process| {
                    drop(process.input.send(Line::Signal(signal.signal)));
                })
            }
            ("DELETE", ["processes", id]) => {
                self.state().removed.push((*id).to_owned());
                self.with(id, |process| process.task.abort())
            }
            ("GET", ["files"]) => match self.state().files.get(&query["path"]) {
                Some(bytes) => {
                    let limit: usize = query["limit"].parse().unwrap();
                    respond(200, bytes.slice(..bytes.len().min(limit)))
                }
                None => refused(ErrorKind::NotFound),
            },
            ("PUT", ["files"]) => {
                self.state().files.insert(query["path"].clone(), body);
                respond(200, Bytes::from_static(b"{}"))
            }
            ("DELETE", ["files"]) => match self.state().files.remove(&query["path"]) {
                Some(_) => respond(200, Bytes::from_static(b"{}")),
                None => refused(ErrorKind::NotFound),
            },
            _ => refused(ErrorKind::InvalidRequest),
        }
    }

    fn process(&self, id: &str) -> Response<Body> {
        let state = self.state();
        let removed = state.removed.iter().any(|removed| removed == id);
        match state.processes.get(id).filter(|_| !removed) {
            Some(process) => json(&Process {
                id: id.to_owned(),
                pid: 2,
                state: ProcessState::Running,
                next_seq: process.output.borrow().len() as u64 + 1,
                next_input_seq: process.next_input_seq,
            }),
            None => refused(ErrorKind::NotFound),
        }
    }

    fn spawn(&self, spawn: Spawn) -> Response<Body> {
        let mut state = self.state();
        if !state.processes.contains_key(&spawn.id) {
            let (input, lines) = mpsc::unbounded_channel();
            let output = watch::Sender::new(Vec::new());
            let playing = (self.inner.script)(spawn.clone(), lines, Output(output.clone()));
            let task = self.inner.tasks.lock().unwrap().spawn(playing);
            let running = Running {
                output,
                input,
                next_input_seq: 1,
                rest: Vec::new(),
                acknowledged: 0,
                task,
            };
            state.processes.insert(spawn.id.clone(), running);
            state.spawned.push(spawn.clone());
        }
        let process = &state.processes[&spawn.id];
        json(&Process {
            id: spawn.id,
            pid: 2,
            state: ProcessState::Running,
            next_seq: process.output.borrow().len() as u64 + 1,
            next_input_seq: process.next_input_seq,
        })
    }

    fn input(&self, id: &str, seq: u64, body: &[u8]) -> Response<Body> {
        let mut state = self.state();
        let Some(process) = state.processes.get_mut(id) else {
            return refused(ErrorKind::NotFound);
        };
        if seq > process.next_input_seq {
            return refused(ErrorKind::Conflict);
        }
        if seq == process.next_input_seq {
            process.next_input_seq += 1;
            process.rest.extend_from_slice(body);
            while let Some(end) = process.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = process.rest.drain(..=end).collect();
                let _ = process
                    .input
                    .send(Line::Json(serde_json::from_slice(&line).unwrap()));
            }
        }
        json(&InputAck {
            next_input_seq: process.next_input_seq,
        })
    }

    fn output(&self, id: &str, after: u64) -> Response<Body> {
        let state = self.state();
        let Some(process) = state.processes.get(id) else {
            return refused(ErrorKind::NotFound);
        };
        let records = process.output.subscribe();
        let start = (records, usize::try_from(after).unwrap());
        let stream = futures_util::stream::unfold(start, |(mut records, at)| async move {
            let record = records.wait_for(|records| records.len() > at).await.ok()?[at].clone();
            let mut line = serde_json::to_vec(&record).unwrap();
            line.push(b'\n');
            Some((Ok(Frame::data(Bytes::from(line))), (records, at + 1)))
        });
        Response::new(StreamBody::new(stream).boxed_unsync())
    }

    fn with(&self, id: &str, act: impl FnOnce(&mut Running)) -> Response<Body> {
        match self.state().processes.get_mut(id) {
            Some(process) => {
                act(process);
                respond(200, Bytes::from_static(b"{}"))
            }
            None => refused(ErrorKind::NotFound),
        }
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    respond(200, Bytes::from(serde_json::to_vec(value).unwrap()))
}

fn refused(kind: ErrorKind) -> Response<Body> {
    let error = guest_protocol::error::ErrorDetail {
        kind,
        message: "refused by the test's guest".into(),
    };
    respond(
        kind.status(),
        Bytes::from(serde_json::to_vec(&ErrorBody { error }).unwrap()),
    )
}

fn respond(status: u16, body: Bytes) -> Response<Body> {
    let body = http_body_util::Full::new(body).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}
