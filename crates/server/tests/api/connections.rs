//! Connections: slow, greedy, half-closed and too many of them; and the end of the server.

use crate::{ADMIN, resources};
use hosted::Resources;
use server::{Api, Config, Ending, Limits, NoUpstream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// For what has to happen.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

struct Running {
    address: SocketAddr,
    ending: Ending,
    resources: Resources,
    task: JoinHandle<()>,
    _directory: TempDir,
}

impl Running {
    async fn new(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let resources = resources(&directory).await;
        let api = Api {
            resources: resources.clone(),
            sessions: None,
            upstream: Arc::new(NoUpstream),
            metrics: metrics::Metrics::default(),
            traces: traces::Traces::default(),
        };
        let config = Config {
            limits,
            ..Config::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = config.build(api);
        let ending = server.ending();
        let running = server.run(vec![listener]);
        let task = tokio::spawn(async move { running.await.unwrap() });
        Self {
            address,
            ending,
            resources,
            task,
            _directory: directory,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One connection with these bytes; what comes until it ends.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that has heard enough closes, which may cut what is still being sent.
        let _ = stream.write_all(request).await;
        rest(stream).await
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    timeout(PATIENCE, reading)
        .await
        .expect("the server closes")
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while !read.contains(text) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "{read}");
            read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    timeout(PATIENCE, reading).await.expect("the answer comes");
    read
}

fn create(headers: &str, body: &str) -> String {
    format!("POST /v1/agents HTTP/1.1\r\nhost: x\r\nx-api-key: {ADMIN}\r\n{headers}\r\n{body}")
}

const AGENT: &str = "{\"name\": \"n\", \"model\": \"m\"}";

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_connection() {
    let limits = Limits {
        head_deadline: SHORT,
        ..Limits::default()
    };
    let running = Running::new(limits).await;
    for beginning in ["", "GET /healthz HTTP/1.1\r\nhost: x\r\n"] {
        let answer = running.exchange(beginning.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let answer = running
        .exchange(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_told_so() {
    let limits = Limits {
        body_pause: SHORT,
        ..Limits::default()
    };
    let running = Running::new(limits).await;
    let request = create("connection: close\r\ncontent-length: 100\r\n", "{\"name\"");
    let answer = running.exchange(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("request_body_timeout"), "{answer}");
}

#[tokio::test]
async fn a_client_that_closed_its_half_gets_its_answer() {
    let running = Running::new(Limits::default()).await;
    let mut stream = running.connect().await;
    let request = create(&format!("content-length: {}\r\n", AGENT.len()), AGENT);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"type\":\"agent\""), "{answer}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_refusal_can_be_read() {
    let running = Running::new(Limits::default()).await;
    let large = "x".repeat(6 << 20);
    let announced = create(
        &format!("connection: close\r\ncontent-length: {}\r\n", large.len()),
        &large,
    );
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let chunked = create("connection: close\r\ntransfer-encoding: chunked\r\n", &chunk);
    for request in [announced, chunked] {
        let answer = running.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("request_too_large"), "{answer}");
    }
    let stranger = format!(
        "POST /v1/agents HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{large}",
        large.len()
    );
    let answer = running.exchange(stranger.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    for length in [70 << 10, 4 << 20] {
        let long = "x".repeat(length);
        let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: {long}\r\n\r\n");
        let answer = running.exchange(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let running = Running::new(Limits::default()).await;
    let mut stream = running.connect().await;
    let head =
        "POST /v1/agents HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = until(&mut stream, "authentication_error").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn what_is_no_http_ends_its_connection_alone() {
    let running = Running::new(Limits::default()).await;
    for noise in [
        &b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let answer = running.exchange(noise).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{answer}"
        );
    }
    let both = create(
        "connection: close\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n",
        "0\r\n\r\n",
    );
    let answer = running.exchange(both.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = running
        .exchange(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn each_request_of_a_connection_has_its_own_id() {
    let running = Running::new(Limits::default()).await;
    let mut stream = running.connect().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let answer = until(&mut stream, "{\"status\":\"ok\"}").await;
        let id = answer
            .lines()
            .find(|line| line.starts_with("request-id: req_"))
            .unwrap()
            .to_owned();
        assert!(!ids.contains(&id));
        ids.push(id);
    }
}

#[tokio::test]
async fn whoever_comes_when_all_places_are_taken_waits_for_one() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let running = Running::new(limits).await;
    let mut first = running.connect().await;
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut first, "{\"status\":\"ok\"}").await;
    let mut second = running.connect().await;
    second
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let early = timeout(SHORT, second.read(&mut [0; 1])).await;
    assert!(early.is_err(), "it waits");
    drop(first);
    until(&mut second, "{\"status\":\"ok\"}").await;
}

#[tokio::test]
async fn the_end_waits_for_a_request_that_has_begun_and_takes_no_other() {
    let running = Running::new(Limits::default()).await;
    let (idle, mut busy) = (running.connect().await, running.connect().await);
    let (sent, left) = AGENT.split_at(5);
    let request = create(
        &format!("expect: 100-continue\r\ncontent-length: {}\r\n", AGENT.len()),
        "",
    );
    busy.write_all(request.as_bytes()).await.unwrap();
    until(&mut busy, "100 Continue").await;
    busy.write_all(sent.as_bytes()).await.unwrap();
    running.ending.cut();
    assert_eq!(rest(idle).await, "");
    busy.write_all(left.as_bytes()).await.unwrap();
    let answer = rest(busy).await;
    assert!(
        answer.contains("HTTP/1.1 200 OK") && answer.contains("\"type\":\"agent\""),
        "{answer}"
    );
    timeout(PATIENCE, running.task).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let limits = Limits {
        drain: SHORT,
        ..Limits::default()
    };
    let running = Running::new(limits).await;
    let mut stuck = running.connect().await;
    let request = create("expect: 100-continue\r\ncontent-length: 100\r\n", "");
    stuck.write_all(request.as_bytes()).await.unwrap();
    until(&mut stuck, "100 Continue").await;
    running.ending.cut();
    timeout(PATIENCE, running.task).await.expect("it ends").unwrap();
    assert_eq!(stuck.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn whoever_asks_and_does_not_read_is_cut() {
    let limits = Limits {
        connections: 1,
        silence: SHORT,
        ..Limits::default()
    };
    let running = Running::new(limits).await;
    let mut stuck = running.connect().await;
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let asking = async { while stuck.write_all(&request).await.is_ok() {} };
    timeout(PATIENCE, asking).await.expect("it is cut");
    let answer = running
        .exchange(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn whoever_sends_slowly_takes_no_room_from_another_workspace() {
    let limits = Limits {
        buffered_bytes: 1 << 20,
        ..Limits::default()
    };
    let running = Running::new(limits).await;
    let key = |workspace: &str| {
        let create = wire::keys::Create {
            name: None,
            workspace_id: Some(workspace.parse().unwrap()),
        };
        running.resources.keys().create(create)
    };
    let (slow, other) = (
        key("slow").await.unwrap().secret,
        key("other").await.unwrap().secret,
    );
    let post = |key: &str, length: usize| {
        format!(
            "POST /v1/agents HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nexpect: 100-continue\r\n\
                 connection: close\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut unfinished = Vec::new();
    for _ in 0..8 {
        let mut stream = running.connect().await;
        stream.write_all(post(&slow, 4_000_000).as_bytes()).await.unwrap();
        until(&mut stream, "100 Continue").await;
        stream.write_all(&vec![b' '; 100_000]).await.unwrap();
        unfinished.push(stream);
    }
    let system = "x".repeat(90_000);
    let large = format!("{{\"name\": \"n\", \"model\": \"m\", \"system\": \"{system}\"}}");
    for (key, body) in [(&other, large.as_str()), (&slow, AGENT)] {
        let request = post(key, body.len()) + body;
        let answer = running.exchange(request.as_bytes()).await;
        assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
    }
}
