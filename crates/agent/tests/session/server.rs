//! A Messages API that gives scripted answers in order and keeps what it was asked.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub(crate) enum Answer {
    /// A whole reply.
    Events(Vec<Value>),
    /// These events, then the connection is cut.
    Cut(Vec<Value>),
    /// These events, then silence.
    Hang(Vec<Value>),
    Status(u16, Vec<(&'static str, &'static str)>, Value),
    /// Bytes as the body of an event stream.
    Raw(Vec<u8>),
    /// An event stream that never ends.
    Endless,
    /// The connection is closed without an answer.
    Close,
}

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    arrived: Notify,
}

pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Server {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers.into()),
            ..Shared::default()
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Self { url, shared }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests have arrived.
    pub(crate) async fn wait_for(&self, count: usize) {
        let wait = async {
            loop {
                let arrived = self.shared.arrived.notified();
                if self.asked().len() >= count {
                    return;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .expect("the request in time");
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        })?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await.ok()?;
        let body = serde_json::from_slice(&body).expect("requests are JSON");
        let answer = shared.answers.lock().unwrap().pop_front();
        shared.asked.lock().unwrap().push(Asked { head, body });
        shared.arrived.notify_waiters();
        let answer = answer.unwrap_or_else(|| {
            Answer::Status(
                400,
                vec![],
                json!({"type":"error","error":{"type":"test","message":"no answer is scripted"}}),
            )
        });
        let stream_head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n";
        match answer {
            Answer::Close => return None,
            Answer::Status(status, headers, body) => {
                let body = body.to_string();
                let mut text = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
                    body.len()
                );
                for (name, value) in headers {
                    text.extend([name, ": ", value, "\r\n"]);
                }
                writer
                    .write_all(format!("{text}\r\n{body}").as_bytes())
                    .await
                    .ok()?;
            }
            Answer::Events(events) => {
                writer.write_all(stream_head.as_bytes()).await.ok()?;
                write_events(&mut writer, &events).await?;
                writer.write_all(b"0\r\n\r\n").await.ok()?;
            }
            Answer::Cut(events) => {
                writer.write_all(stream_head.as_bytes()).await.ok()?;
                write_events(&mut writer, &events).await?;
                return None;
            }
            Answer::Hang(events) => {
                writer.write_all(stream_head.as_bytes()).await.ok()?;
                write_events(&mut writer, &events).await?;
                // Until the other side goes away.
                let mut rest = Vec::new();
                reader.read_to_end(&mut rest).await.ok()?;
                return None;
            }
            Answer::Raw(bytes) => {
                writer.write_all(stream_head.as_bytes()).await.ok()?;
                chunk(&mut writer, &bytes).await?;
                writer.write_all(b"0\r\n\r\n").await.ok()?;
            }
            Answer::Endless => {
                writer.write_all(stream_head.as_bytes()).await.ok()?;
                chunk(&mut writer, b"data: ").await?;
                let more = vec![b'x'; 1 << 20];
                loop {
                    chunk(&mut writer, &more).await?;
                }
            }
        }
    }
}

async fn write_events(writer: &mut (impl AsyncWrite + Unpin), events: &[Value]) -> Option<()> {
    for event in events {
        let text = format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or_default()
        );
        chunk(writer, text.as_bytes()).await?;
    }
    Some(())
}

async fn chunk(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Option<()> {
    writer
        .write_all(format!("{:x}\r\n", bytes.len()).as_bytes())
        .await
        .ok()?;
    writer.write_all(bytes).await.ok()?;
    writer.write_all(b"\r\n").await.ok()?;
    writer.flush().await.ok()
}

/// The events of a reply.
pub(crate) fn events(blocks: &[Value], stop_reason: &str, input_tokens: u64) -> Vec<Value> {
    let mut events = vec![
        json!({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",
        "model":"claude-haiku-4-5","content":[],"usage":{"input_tokens":input_tokens,"output_tokens":1}}}),
    ];
    for (index, block) in blocks.iter().enumerate() {
        let (start, deltas) = parts(block);
        events.push(json!({"type":"content_block_start","index":index,"content_block":start}));
        events.extend(
            deltas
                .into_iter()
                .map(|delta| json!({"type":"content_block_delta","index":index,"delta":delta})),
        );
        events.push(json!({"type":"content_block_stop","index":index}));
    }
    events.push(json!({"type":"message_delta","delta":{"stop_reason":stop_reason,"stop_sequence":null},"usage":{"output_tokens":20}}));
    events.push(json!({"type":"message_stop"}));
    events
}

fn parts(block: &Value) -> (Value, Vec<Value>) {
    let halves = |text: &str| {
        let middle = (0..=text.len() / 2)
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        [text[..middle].to_owned(), text[middle..].to_owned()]
    };
    match block["type"].as_str() {
        Some("text") => (
            json!({"type":"text","text":""}),
            halves(block["text"].as_str().unwrap())
                .iter()
                .map(|text| json!({"type":"text_delta","text":text}))
                .collect(),
        ),
        Some("thinking") => (
            json!({"type":"thinking","thinking":"","signature":""}),
            vec![
                json!({"type":"thinking_delta","thinking":block["thinking"]}),
                json!({"type":"signature_delta","signature":block["signature"]}),
            ],
        ),
        Some("tool_use") => {
            let input = block["raw"]
                .as_str()
                .map_or_else(|| block["input"].to_string(), str::to_owned);
            (
                json!({"type":"tool_use","id":block["id"],"name":block["name"],"input":{}}),
                halves(&input)
                    .iter()
                    .map(|part| json!({"type":"input_json_delta","partial_json":part}))
                    .collect(),
            )
        }
        _ => (block.clone(), Vec::new()),
    }
}

pub(crate) fn said(text: &str) -> Answer {
    Answer::Events(events(&[block(text)], "end_turn", 10))
}

pub(crate) fn block(text: &str) -> Value {
    json!({"type":"text","text":text})
}

#[expect(clippy::needless_pass_by_value, reason = "callers make the input in place")]
pub(crate) fn call(id: &str, name: &str, input: Value) -> Value {
    json!({"type":"tool_use","id":id,"name":name,"input":input})
}

pub(crate) fn calls(blocks: &[Value]) -> Answer {
    Answer::Events(events(blocks, "tool_use", 10))
}

pub(crate) fn refused(status: u16, kind: &str, message: &str) -> Answer {
    Answer::Status(
        status,
        vec![],
        json!({"type":"error","error":{"type":kind,"message":message}}),
    )
}
