//! A server with one session, on a real socket, and clients that follow that session.

use crate::no_sandbox::NoSandbox;
use crate::{ADMIN, ENDLESS, api_on};
use domain::{SessionId, WorkspaceId};
use hosted::Hosted;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use server::{Api, Config, Ending, Limits, NoUpstream, Rates};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Instance;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wire::Input as _;

/// For what has to happen.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Running {
    pub address: SocketAddr,
    pub ending: Ending,
    pub task: JoinHandle<()>,
    pub api: Api,
    pub session: SessionId,
    pub directory: TempDir,
}

impl Running {
    pub async fn new() -> Self {
        Self::with(Limits::default(), ENDLESS).await
    }

    pub async fn with(limits: Limits, rates: Rates) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let api = api_on(NoSandbox::Refused, &directory, Arc::new(NoUpstream)).await;
        let session = session(&api).await;
        Self::of(api, session, directory, limits, rates).await
    }

    /// Where turns begin and do not end.
    pub async fn at_work() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let api = api_on(NoSandbox::Awaited, &directory, Arc::new(NoUpstream)).await;
        let session = session(&api).await;
        Self::of(api, session, directory, Limits::default(), ENDLESS).await
    }

    async fn of(api: Api, session: SessionId, directory: TempDir, limits: Limits, rates: Rates) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Config {
            limits,
            rates,
            ..Config::default()
        }
        .build(api.clone());
        let ending = server.ending();
        let running = server.run(vec![listener]);
        let task = tokio::spawn(async move { running.await.unwrap() });
        Self {
            address,
            ending,
            task,
            api,
            session,
            directory,
        }
    }

    /// Another server on what this one has stored.
    pub async fn restarted(self) -> Self {
        let Self {
            ending,
            task,
            api,
            session,
            directory,
            ..
        } = self;
        ending.cut();
        within(task).await.unwrap();
        api.resources.store().close().await;
        drop(api);
        // Whoever worked for it is gone soon.
        let path = directory.path().join("data");
        within(async {
            while Instance::open(&path).is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let api = api_on(NoSandbox::Refused, &directory, Arc::new(NoUpstream)).await;
        Self::of(api, session, directory, Limits::default(), ENDLESS).await
    }

    pub fn hosted(&self) -> &Hosted {
        self.api.sessions.as_ref().unwrap()
    }

    /// A session of its own beside the first.
    pub async fn another(&self) -> SessionId {
        session(&self.api).await
    }

    /// Status and body of the answer to a request with the admin key.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        self.call_as(ADMIN, method, path, body).await
    }

    pub async fn call_as(&self, key: &str, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let bytes = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "x")
            .header("x-api-key", key)
            .body(Full::new(Bytes::from(bytes)))
            .unwrap();
        let (status, body) = ask(stream, request).await;
        let bytes = within(body.collect()).await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    pub fn path(&self) -> String {
        format!("/v1/sessions/{}", self.session)
    }

    /// Sends a message to the session, without a connection.
    pub async fn say(&self, text: &str) {
        let workspace = WorkspaceId::default();
        let message = wire::event_input::Send::read(crate::sessions::message(text)).unwrap();
        let sent = self.hosted().send(&workspace, &self.session, message);
        assert_eq!(within(sent).await.unwrap().len(), 1);
    }

    /// What is in the log, as it is listed.
    pub async fn log(&self) -> Vec<Value> {
        let path = format!("{}/events", self.path());
        let mut all = Vec::new();
        let mut next = path.clone();
        loop {
            let (status, page) = self.call("GET", &next, &Value::Null).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next_page"].as_str() {
                Some(cursor) => next = format!("{path}?page={cursor}"),
                None => return all,
            }
        }
    }

    /// Waits until the session has done with so many messages; its log.
    pub async fn rests_after(&self, messages: usize) -> Vec<Value> {
        within(async {
            loop {
                let log = self.log().await;
                let of = |kind: &str| log.iter().filter(|event| event["type"] == kind).count();
                let waits = log.iter().any(|event| event["processed_at"].is_null());
                let last = log.last().map(|event| &event["type"]);
                if of("user.message") == messages && !waits && last == Some(&json!("session.status_idle")) {
                    return log;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub async fn stream(&self, headers: &[(&str, &str)]) -> Result<Stream, (StatusCode, Value)> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.stream_over(stream, headers).await
    }

    pub async fn stream_over(
        &self,
        stream: TcpStream,
        headers: &[(&str, &str)],
    ) -> Result<Stream, (StatusCode, Value)> {
        let mut request = Request::builder()
            .uri(format!("{}/events/stream", self.path()))
            .header("host", "x");
        let key = ("x-api-key", ADMIN);
        let named = headers.iter().any(|(name, _)| *name == key.0);
        for (name, value) in headers.iter().chain((!named).then_some(&key)) {
            request = request.header(*name, *value);
        }
        let (status, body) = ask(stream, request.body(Full::new(Bytes::new())).unwrap()).await;
        if status == StatusCode::OK {
            let read = Vec::new();
            return Ok(Stream { body, read });
        }
        let bytes = within(body.collect()).await.unwrap().to_bytes();
        Err((status, serde_json::from_slice(&bytes).unwrap()))
    }
}

/// A stream of server-sent events. What is not read waits in the connection.
pub struct Stream {
    body: Incoming,
    read: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub id: Option<String>,
    pub event: String,
    pub data: Value,
}

impl Stream {
    /// The next record; nothing after the last.
    pub async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let record: Vec<u8> = self.read.drain(..end + 2).collect();
                return Some(Record::of(std::str::from_utf8(&record).unwrap()));
            }
            let frame = within(self.body.frame()).await?.unwrap();
            self.read.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// Records up to this event; pings between are left out.
    pub async fn until(&mut self, id: &str) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let record = self.next().await.expect("the stream goes on");
            if record.event == "ping" && record.data.get("behind").is_none() {
                continue;
            }
            records.push(record);
            if records.last().unwrap().id.as_deref() == Some(id) {
                return records;
            }
        }
    }
}

impl Record {
    fn of(text: &str) -> Self {
        let field = |name: &str| {
            let prefix = format!("{name}: ");
            text.lines().find_map(|line| line.strip_prefix(&prefix))
        };
        Self {
            id: field("id").map(str::to_owned),
            event: field("event")
                .expect("clients drop a record without it")
                .to_owned(),
            data: serde_json::from_str(field("data").unwrap()).unwrap(),
        }
    }
}

async fn ask(stream: TcpStream, request: Request<Full<Bytes>>) -> (StatusCode, Incoming) {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = within(sender.send_request(request)).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.status, body)
}

async fn session(api: &Api) -> SessionId {
    let workspace = WorkspaceId::default();
    let create = wire::agents::Create::read(json!({"name": "a", "model": "claude-sonnet-5-5"})).unwrap();
    let agent = api.resources.agents().create(&workspace, create).await.unwrap();
    let create = wire::environments::Create::read(json!({"name": "e"})).unwrap();
    let environment = api
        .resources
        .environments()
        .create(&workspace, create)
        .await
        .unwrap();
    let create = json!({"agent": agent.id, "environment_id": environment.id});
    let create = wire::sessions::Create::read(create).unwrap();
    api.sessions
        .as_ref()
        .unwrap()
        .create(&workspace, create)
        .await
        .unwrap()
        .id
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("what was waited for did not happen")
}
