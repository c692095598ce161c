//! A gateway between a raw client and an upstream, and what both saw.

use domain::{Cost, SessionId};
use gateway::{
    Config, Credential, Gateway, Limits, MemoryLedger, OutsideReach, RecordedCall, Secret, Serving,
    SessionGrant, Upstream,
};
use serde_json::{Value, json};
use simulated_model::{Options, Script, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const KEY: &str = "sk-ant-api03-the-real-key";
pub(crate) const TOKEN: &str = "hostler-session-0123456789";
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Stack {
    pub(crate) model: Server,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) serving: Serving,
    pub(crate) address: SocketAddr,
}

/// The simulated model, which takes only the real key, behind a gateway.
pub(crate) async fn stack(script: &Value) -> Stack {
    stack_with(script, None, |_| {}).await
}

pub(crate) async fn stack_with(
    script: &Value,
    budget: Option<f64>,
    change: impl FnOnce(&mut Config),
) -> Stack {
    let model = model(script).await;
    let ledger = Arc::new(MemoryLedger::default());
    let (serving, address) = serve(&model.base_url(), Arc::clone(&ledger) as _, budget, change).await;
    Stack {
        model,
        ledger,
        serving,
        address,
    }
}

pub(crate) async fn model(script: &Value) -> Server {
    let script = Script::parse(&script.to_string()).unwrap();
    let options = Options {
        api_key: Some(KEY.to_owned()),
        ..Options::default()
    };
    Server::bind("127.0.0.1:0", script, options).await.unwrap()
}

pub(crate) async fn serve(
    base_url: &str,
    ledger: Arc<dyn gateway::Ledger>,
    budget: Option<f64>,
    change: impl FnOnce(&mut Config),
) -> (Serving, SocketAddr) {
    let upstream = Upstream::new(base_url, Credential::ApiKey(Secret::new(KEY))).unwrap();
    let mut config = Config::new(upstream);
    config.retries.first_delay = Duration::from_millis(10);
    config.limits.drain = Duration::from_millis(200);
    change(&mut config);
    // The standard library's has too short a queue for hundreds at once.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1024).unwrap().into_std().unwrap();
    let address = listener.local_addr().unwrap();
    let grant = SessionGrant {
        session_id: SessionId::random(),
        token: TOKEN.to_owned(),
        budget: budget.map(Cost::from_usd),
        already_spent: Cost::ZERO,
        waiting_since: None,
        trace: traces::SessionTrace::default(),
        reach: OutsideReach::default(),
    };
    let serving = Gateway::new(config, ledger)
        .serve(grant, listener.into())
        .unwrap();
    (serving, address)
}

impl Stack {
    pub(crate) async fn ask(&self, body: &Value) -> Answer {
        post(self.address, body).await
    }

    /// The only call, once it is closed.
    pub(crate) async fn closed_call(&self) -> RecordedCall {
        closed_calls(&self.ledger, 1).await.remove(0)
    }
}

/// All calls, once there are so many and all are closed.
pub(crate) async fn closed_calls(ledger: &MemoryLedger, number: usize) -> Vec<RecordedCall> {
    let waiting = async {
        loop {
            let calls = ledger.calls();
            if calls.len() >= number && calls.iter().all(|call| call.outcome.is_some()) {
                return calls;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("the calls are closed")
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    /// Without the framing of chunks.
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub(crate) fn error(&self) -> (u16, String, String) {
        let error = self.json()["error"].clone();
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        (self.status, text("type"), text("message"))
    }
}

pub(crate) fn token_header() -> String {
    format!("x-api-key: {TOKEN}\r\nanthropic-version: 2023-06-01\r\n")
}

pub(crate) async fn post(address: SocketAddr, body: &Value) -> Answer {
    send(
        address,
        "POST",
        "/v1/messages",
        &token_header(),
        body.to_string().as_bytes(),
    )
    .await
}

pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let stream = start(address, method, path, headers, body).await;
    finish(stream).await
}

pub(crate) async fn start(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

pub(crate) async fn finish(mut stream: TcpStream) -> Answer {
    let mut raw = Vec::new();
    // A connection that was cut may end with a reset.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut raw))
        .await
        .expect("the answer ends");
    parse(&raw)
}

/// Reads until this text has arrived.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        let mut buffer = [0_u8; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the stream ended without {text:?}");
            seen.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(DEADLINE, reading)
        .await
        .expect("the text arrives");
    String::from_utf8_lossy(&seen).into_owned()
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
    let headers = String::from_utf8_lossy(&raw[..end]).into_owned();
    let status = headers[9..12].parse().unwrap();
    let rest = &raw[end + 4..];
    if headers.contains("transfer-encoding: chunked") {
        let (body, whole) = dechunk(rest);
        return Answer {
            status,
            headers,
            body,
            whole,
        };
    }
    Answer {
        status,
        headers,
        body: rest.to_vec(),
        whole: true,
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

/// An upstream that answers every request with these bytes, piece by piece, and closes. Returns what it was sent.
pub(crate) async fn raw_upstream(pieces: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = Vec::new();
        let mut buffer = vec![0_u8; 1 << 16];
        while !is_whole(&request) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the request is whole");
            request.extend_from_slice(&buffer[..count]);
        }
        for piece in pieces {
            stream.write_all(&piece).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        request
    });
    (format!("http://{address}"), task)
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length: usize = head
        .lines()
        .find_map(|line| {
            line.strip_prefix("content-length: ")
                .map(|text| text.trim().parse().unwrap())
        })
        .unwrap_or(0);
    request.len() >= end + 4 + length
}

pub(crate) fn request(prompt: &str) -> Value {
    json!({"model": "claude-opus-5-5", "max_tokens": 1000, "stream": true,
           "messages": [{"role": "user", "content": prompt}]})
}

pub(crate) fn not_streamed(prompt: &str) -> Value {
    let mut body = request(prompt);
    body["stream"] = json!(false);
    body
}

pub(crate) fn reply(text: &str) -> Value {
    json!({"name": "test", "turns": [{"reply": [{"text": text}]}]})
}

pub(crate) fn faulty(text: &str, fault: &Value) -> Value {
    json!({"name": "test", "turns": [{"reply": [{"text": text}], "fault": fault}]})
}

pub(crate) fn short(limits: &mut Limits) {
    limits.upstream_idle = Duration::from_millis(200);
    limits.head_deadline = Duration::from_millis(200);
    limits.body_deadline = Duration::from_millis(200);
}
