//! Servers that say what a test wants, also what no good server says.

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a server was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Like `GET /v1/sessions`, without the query.
    pub what: String,
    pub query: String,
    pub head: String,
    pub body: Value,
}

pub enum Answer {
    Json(u16, Value),
    /// Of this type, as it is.
    Text(u16, &'static str, String),
    /// Server-sent events; then the connection is closed.
    Events(Vec<Value>),
    /// The connection is closed without an answer.
    Nothing,
}

#[derive(Clone)]
pub struct Scripted {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    /// The answer to each request, which is counted from 0.
    pub async fn start(answer: impl Fn(usize, &Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                let Some(asked) = read(&mut stream).await else {
                    continue;
                };
                let answer = answer(number, &asked);
                kept.lock().unwrap().push(asked);
                write(&mut stream, answer).await;
            }
        });
        Self { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        return Some(Asked {
            what: format!("{method} {path}"),
            query: query.to_owned(),
            head: head.to_owned(),
            body: serde_json::from_str(body).unwrap_or_default(),
        });
    }
}

async fn write(stream: &mut TcpStream, answer: Answer) {
    let (status, kind, body) = match answer {
        Answer::Json(status, value) => (status, "application/json", value.to_string()),
        Answer::Text(status, kind, text) => (status, kind, text),
        Answer::Events(events) => (200, "text/event-stream", events.iter().map(record).collect()),
        Answer::Nothing => return,
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn record(event: &Value) -> String {
    let id = event["id"]
        .as_str()
        .map_or(String::new(), |id| format!("id: {id}\n"));
    format!(
        "{id}event: {}\ndata: {event}\n\n",
        event["type"].as_str().unwrap()
    )
}

/// As the API tells an error.
pub fn error(status: u16, kind: &str, message: &str) -> Answer {
    let error = json!({"type": kind, "message": message, "details": {"error_code": "code_of_it"}});
    Answer::Json(
        status,
        json!({"type": "error", "error": error, "request_id": "req_1"}),
    )
}

pub fn page(data: &[Value]) -> Answer {
    Answer::Json(200, json!({"data": data, "next_page": null}))
}
