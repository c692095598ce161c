//! What the proxy costs on loopback: time to the first byte back on a new connection, and throughput, each directly
//! and through a `CONNECT` tunnel. Run with `cargo run --release -p egress --example measure`.
#![allow(clippy::print_stdout)]
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use domain::SessionId;
use egress::{Audit, AuditEntry, Config, Egress, EgressSockets, Resolve, ResolveError};
use policy::{HostName, Rules};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ROUNDS: usize = 2000;
const BULK_BYTES: u64 = 1 << 30;
/// The upstream answers this with bulk, and anything else with itself.
const BULK: u8 = b'B';

struct Loopback;

#[async_trait]
impl Resolve for Loopback {
    async fn resolve(&self, _: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

struct Discard;

impl Audit for Discard {
    fn record(&self, _: AuditEntry) {}
}

#[tokio::main]
async fn main() {
    let upstream = start_upstream().await;
    let (proxy, _serving) = start_egress(upstream.port());
    for (name, through) in [("direct", None), ("through the proxy", Some(proxy))] {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            times.push(first_byte(upstream, through).await);
        }
        times.sort_unstable();
        let (median, high) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
        println!("{name}: connect and one byte back, p50 {median:?}, p99 {high:?}");
        println!("{name}: {:.2} GB/s", throughput(upstream, through).await);
    }
}

async fn connect(upstream: SocketAddr, through: Option<SocketAddr>) -> TcpStream {
    let mut stream = TcpStream::connect(through.unwrap_or(upstream)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    if through.is_some() {
        let request = format!("CONNECT upstream.example:{} HTTP/1.1\r\n\r\n", upstream.port());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 19];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK\r\n\r\n");
    }
    stream
}

async fn first_byte(upstream: SocketAddr, through: Option<SocketAddr>) -> Duration {
    let start = Instant::now();
    let mut stream = connect(upstream, through).await;
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    start.elapsed()
}

async fn throughput(upstream: SocketAddr, through: Option<SocketAddr>) -> f64 {
    let mut stream = connect(upstream, through).await;
    stream.write_all(&[BULK]).await.unwrap();
    let mut buffer = vec![0; 256 << 10];
    let (start, mut total) = (Instant::now(), 0);
    while total < BULK_BYTES {
        total += stream.read(&mut buffer).await.unwrap() as u64;
    }
    total as f64 / start.elapsed().as_secs_f64() / 1e9
}

async fn start_upstream() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    match stream.read_u8().await {
        Ok(BULK) => {
            let block = vec![0; 256 << 10];
            while stream.write_all(&block).await.is_ok() {}
        }
        Ok(byte) => _ = stream.write_all(&[byte]).await,
        Err(_) => {}
    }
}

fn start_egress(port: u16) -> (SocketAddr, egress::Serving) {
    let proxy = TcpListener::bind("127.0.0.3:0").unwrap();
    let address = proxy.local_addr().unwrap();
    let sockets = EgressSockets {
        proxy: proxy.into(),
        dns_udp: UdpSocket::bind("127.0.0.53:0").unwrap().into(),
        dns_tcp: TcpListener::bind("127.0.0.53:0").unwrap().into(),
        transparent: Vec::new(),
    };
    let rules = [format!("upstream.example:{port}"), format!("127.0.0.1:{port}")];
    let config = Config {
        connections_per_second: 1_000_000,
        ..Config::default()
    };
    let egress = Egress::new(config, Arc::new(Loopback), Arc::new(Discard));
    let serving = egress
        .serve(SessionId::random(), Rules::parse(rules).unwrap(), sockets)
        .unwrap();
    (address, serving)
}
