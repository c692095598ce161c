//! One sandbox's egress on ephemeral ports of loopback, its audit, and upstreams.

use domain::SessionId;
use egress::{Audit, AuditEntry, Config, Egress, EgressSockets, Resolve, ResolveError, Serving};
use policy::{HostName, Rules};
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Every wait of a test has this deadline.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .expect("it did not happen before the deadline")
}

/// Names and their addresses; `None` never answers. What is not here does not exist.
#[derive(Default)]
pub struct Zone {
    names: HashMap<String, Option<Vec<IpAddr>>>,
    pub asked: Mutex<Vec<String>>,
}

impl Zone {
    pub fn new(names: &[(&str, &str)]) -> Self {
        let entry = |(name, addresses): &(&str, &str)| {
            let parsed = addresses
                .split(' ')
                .map(|address| address.parse().unwrap())
                .collect();
            (
                (*name).to_owned(),
                (*addresses != "never").then_some(()).map(|()| parsed),
            )
        };
        let never = |(_, addresses): &&(&str, &str)| *addresses == "never";
        let mut zone = Self::default();
        for silent in names.iter().filter(never) {
            zone.names.insert(silent.0.to_owned(), None);
        }
        zone.names
            .extend(names.iter().filter(|entry| !never(entry)).map(entry));
        zone
    }
}

#[async_trait::async_trait]
impl Resolve for Zone {
    async fn resolve(&self, host: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        self.asked.lock().unwrap().push(host.to_string());
        match self.names.get(host.as_str()) {
            Some(Some(addresses)) => Ok(addresses.clone()),
            Some(None) => std::future::pending().await,
            None => Err(ResolveError::NotFound),
        }
    }
}

#[derive(Default)]
pub struct Recorder {
    entries: Mutex<Vec<AuditEntry>>,
    changed: Notify,
}

impl Audit for Recorder {
    fn record(&self, entry: AuditEntry) {
        self.entries.lock().unwrap().push(entry);
        self.changed.notify_waiters();
    }
}

impl Recorder {
    pub fn lines(&self) -> Vec<String> {
        self.entries
            .lock()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Waits for that many.
    pub async fn first(&self, count: usize) -> Vec<String> {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                if self.entries.lock().unwrap().len() >= count {
                    return;
                }
                changed.await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, reached).await.is_ok();
        assert!(in_time, "not {count} entries: {:#?}", self.lines());
        self.lines()
    }

    pub fn entries(&self) -> Vec<AuditEntry> {
        self.entries.lock().unwrap().clone()
    }
}

pub struct Fixture {
    pub proxy: SocketAddr,
    pub dns_udp: SocketAddr,
    pub dns_tcp: SocketAddr,
    pub audit: Arc<Recorder>,
    pub zone: Arc<Zone>,
    pub session: SessionId,
    pub serving: Option<Serving>,
}

/// Limits as they are, deadlines short enough to wait for.
pub fn quick() -> Config {
    Config {
        resolve_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_millis(600),
        ..Config::default()
    }
}

impl Fixture {
    pub fn new(rules: &[&str], names: &[(&str, &str)]) -> Self {
        Self::with(quick(), rules, names, Vec::new())
    }

    pub fn with(
        config: Config,
        rules: &[&str],
        names: &[(&str, &str)],
        transparent: Vec<TcpListener>,
    ) -> Self {
        let proxy = TcpListener::bind("127.0.0.3:0").unwrap();
        let dns_tcp = TcpListener::bind("127.0.0.53:0").unwrap();
        let dns_udp = UdpSocket::bind("127.0.0.53:0").unwrap();
        let (audit, zone) = (Arc::new(Recorder::default()), Arc::new(Zone::new(names)));
        let session = SessionId::random();
        let addresses = (
            proxy.local_addr().unwrap(),
            dns_udp.local_addr().unwrap(),
            dns_tcp.local_addr().unwrap(),
        );
        let sockets = EgressSockets {
            proxy: proxy.into(),
            dns_udp: dns_udp.into(),
            dns_tcp: dns_tcp.into(),
            transparent: transparent.into_iter().map(Into::into).collect(),
        };
        let egress = Egress::new(config, zone.clone(), audit.clone());
        let serving = egress
            .serve(session.clone(), Rules::parse(rules).unwrap(), sockets)
            .unwrap();
        let (proxy, dns_udp, dns_tcp) = addresses;
        Self {
            proxy,
            dns_udp,
            dns_tcp,
            audit,
            zone,
            session,
            serving: Some(serving),
        }
    }

    pub async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.proxy)).await.unwrap()
    }

    /// Sends `CONNECT` and gives the stream with the head of the answer.
    pub async fn tunnel(&self, destination: &str) -> (TcpStream, String) {
        let mut stream = self.connect().await;
        stream
            .write_all(format!("CONNECT {destination} HTTP/1.1\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let head = read_head(&mut stream).await;
        (stream, head)
    }

    /// Sends one request and reads until the proxy closes.
    pub async fn ask(&self, request: &str) -> String {
        exchange(self.connect().await, request.as_bytes()).await
    }
}

/// Writes, then reads to the end.
pub async fn exchange(mut stream: TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    read_all(&mut stream).await
}

/// To the end; a reset is an end too.
pub async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Up to and with the empty line, and no byte more.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match soon(stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A head and a body of the length it tells.
pub async fn read_response(stream: &mut TcpStream) -> (String, String) {
    let head = read_head(stream).await;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(str::to_owned)
        })
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// An upstream: `serve` gets each connection. It ends with the test's runtime.
pub async fn upstream<Work>(address: &str, serve: impl Fn(TcpStream) -> Work + Send + 'static) -> SocketAddr
where
    Work: Future<Output = ()> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Sends back what it gets, to the end.
pub async fn echo(mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    _ = tokio::io::copy(&mut reader, &mut writer).await;
    _ = writer.shutdown().await;
}

/// Answers each request with what it got, on kept connections: the head as it came, then the length of the body.
pub async fn mirror(mut stream: TcpStream) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8(head).unwrap();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nx-upstream: mirror\r\nconnection: x-secret\r\nx-secret: 1\r\ncontent-length: {}\r\n\r\n{text}{}",
            text.len() + body.len(),
            String::from_utf8_lossy(&body),
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A real `ClientHello`.
pub fn client_hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}
