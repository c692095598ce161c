//! A collector of OTLP/HTTP in JSON, on this machine.

use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub struct Collector {
    pub url: String,
    bodies: Arc<Mutex<Vec<String>>>,
}

/// A span, as it was exported.
#[derive(Debug, Clone)]
pub struct Span {
    json: Value,
    resource: Value,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::<Mutex<Vec<String>>>::default();
        let taken = bodies.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, taken.clone()));
            }
        });
        Self { url, bodies }
    }

    /// Everything that came, as it came.
    pub fn text(&self) -> String {
        self.bodies.lock().unwrap().concat()
    }

    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for body in self.bodies.lock().unwrap().iter() {
            let body: Value = serde_json::from_str(body).unwrap();
            for of_resource in list(&body["resourceSpans"]) {
                for of_scope in list(&of_resource["scopeSpans"]) {
                    spans.extend(list(&of_scope["spans"]).iter().map(|span| Span {
                        json: span.clone(),
                        resource: of_resource["resource"].clone(),
                    }));
                }
            }
        }
        spans
    }

    /// The one span of this name.
    #[track_caller]
    pub fn span(&self, name: &str) -> Span {
        let mut found = self.named(name);
        assert_eq!(found.len(), 1, "{name}: {:#?}", self.spans());
        found.remove(0)
    }

    /// In the order in which they began.
    pub fn named(&self, name: &str) -> Vec<Span> {
        let mut found: Vec<Span> = self.spans();
        found.retain(|span| span.json["name"] == name);
        found.sort_by_key(Span::began);
        found
    }
}

impl Span {
    pub fn id(&self) -> &str {
        self.json["spanId"].as_str().unwrap()
    }

    pub fn trace(&self) -> &str {
        self.json["traceId"].as_str().unwrap()
    }

    pub fn parent(&self) -> &str {
        self.json["parentSpanId"].as_str().unwrap_or_default()
    }

    pub fn began(&self) -> u64 {
        number(&self.json["startTimeUnixNano"])
    }

    pub fn ended(&self) -> u64 {
        number(&self.json["endTimeUnixNano"])
    }

    /// The text or number of an attribute; empty where it has none.
    pub fn get(&self, name: &str) -> String {
        attribute(&self.json, name)
    }

    pub fn resource(&self, name: &str) -> String {
        attribute(&self.resource, name)
    }

    pub fn failed(&self) -> bool {
        self.json["status"]["code"] == 2
    }

    /// The spans that it is linked with.
    pub fn links(&self) -> Vec<&str> {
        let links = list(&self.json["links"]).iter();
        links.map(|link| link["spanId"].as_str().unwrap()).collect()
    }

    /// What happened meanwhile, with an attribute of it.
    pub fn events(&self, attribute_name: &str) -> Vec<(String, String)> {
        let events = list(&self.json["events"]).iter();
        events
            .map(|event| {
                let name = event["name"].as_str().unwrap().to_owned();
                (name, attribute(event, attribute_name))
            })
            .collect()
    }
}

fn attribute(of: &Value, name: &str) -> String {
    let found = list(&of["attributes"]).iter().find(|pair| pair["key"] == name);
    let value = found.and_then(|pair| pair["value"].as_object()?.values().next());
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        other => other.as_u64().unwrap(),
    }
}

async fn serve(stream: TcpStream, bodies: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        assert!(head.contains("api-key: a b\r\n"), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        bodies.lock().unwrap().push(String::from_utf8(body).unwrap());
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}
