//! Nothing that a client does, or leaves undone, holds up the host or another client for long.

use crate::fixture::{Fixture, echo, quick, read_all, soon, upstream};
use egress::Config;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn echoing(config: Config) -> (Fixture, u16) {
    let port = upstream("127.0.0.1:0", echo).await.port();
    let rules = [format!("api.example.com:{port}"), format!("127.0.0.1:{port}")];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    (
        Fixture::with(config, &rules, &[("api.example.com", "127.0.0.1")], Vec::new()),
        port,
    )
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_cut_at_the_deadline() {
    let config = Config {
        opening_timeout: Duration::from_millis(300),
        ..quick()
    };
    let (fixture, _) = echoing(config).await;
    let (mut reader, mut writer) = fixture.connect().await.into_split();
    let trickle = async {
        writer
            .write_all(b"GET http://api.example.com/ HTTP/1.1\r\nx: ")
            .await
            .unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while writer.write_all(b"a").await.is_ok() {
            pace.tick().await;
        }
    };
    let read = async {
        let mut bytes = Vec::new();
        _ = reader.read_to_end(&mut bytes).await;
    };
    soon(async { tokio::join!(trickle, read) }).await;
}

#[tokio::test]
async fn a_client_hello_that_does_not_end_is_cut_at_the_deadline() {
    let config = Config {
        opening_timeout: Duration::from_millis(300),
        ..quick()
    };
    let (fixture, port) = echoing(config).await;
    let (mut stream, _) = fixture.tunnel(&format!("api.example.com:{port}")).await;
    stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
    let lines = fixture.audit.first(2).await;
    assert!(
        lines[1].ends_with("up 0 down 0: nothing came of the client: timed out"),
        "{}",
        lines[1]
    );
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_cut() {
    let config = Config {
        idle_timeout: Duration::from_millis(300),
        ..quick()
    };
    let (fixture, port) = echoing(config).await;
    let (mut stream, _) = fixture.tunnel(&format!("api.example.com:{port}")).await;
    stream.write_all(b"abc").await.unwrap();
    assert_eq!(read_all(&mut stream).await, "abc");
    let lines = fixture.audit.first(2).await;
    assert!(lines[1].ends_with("up 3 down 3: timed out"), "{}", lines[1]);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let (fixture, port) = echoing(quick()).await;
    let long = "a".repeat(100_000);
    let mut stream = fixture.connect().await;
    let request = format!("GET http://api.example.com:{port}/ HTTP/1.1\r\nx: {long}\r\n\r\n");
    _ = stream.write_all(request.as_bytes()).await;
    let mut answer = vec![0; 12];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 431");
    assert!(fixture.audit.lines().is_empty());
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_one_to_end() {
    let config = Config {
        max_connections: 2,
        ..quick()
    };
    let (fixture, port) = echoing(config).await;
    let destination = format!("api.example.com:{port}");
    let (first, _) = fixture.tunnel(&destination).await;
    let (_second, _) = fixture.tunnel(&destination).await;
    let mut third = fixture.connect().await;
    third
        .write_all(format!("CONNECT {destination} HTTP/1.1\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(fixture.audit.first(2).await.len(), 2);
    let waits = tokio::time::timeout(Duration::from_millis(200), third.read_u8()).await;
    assert!(waits.is_err(), "the third got an answer");
    drop(first);
    assert_eq!(soon(third.read_u8()).await.unwrap(), b'H');
}

#[tokio::test]
async fn the_limit_over_all_sandboxes_holds_too() {
    let (fixture, port) = echoing(Config {
        max_connections_total: 1,
        ..quick()
    })
    .await;
    let destination = format!("api.example.com:{port}");
    let (first, _) = fixture.tunnel(&destination).await;
    let mut second = fixture.connect().await;
    second
        .write_all(format!("CONNECT {destination} HTTP/1.1\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(200), second.read_u8()).await;
    assert!(waits.is_err(), "the second got an answer");
    drop(first);
    assert_eq!(soon(second.read_u8()).await.unwrap(), b'H');
}

#[tokio::test]
async fn connections_that_come_and_go_in_a_flood_are_held_to_the_rate() {
    let (fixture, port) = echoing(Config {
        connections_per_second: 20,
        ..quick()
    })
    .await;
    let start = tokio::time::Instant::now();
    for _ in 0..40 {
        drop(fixture.connect().await);
    }
    let (stream, head) = fixture.tunnel(&format!("api.example.com:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // 20 at once, then 20 a second: the 41st is accepted a second after the start at the earliest.
    assert!(
        start.elapsed() >= Duration::from_millis(950),
        "{:?}",
        start.elapsed()
    );
    drop(stream);
}

#[tokio::test]
async fn garbage_of_all_kinds_leaves_the_proxy_serving() {
    let (fixture, port) = echoing(quick()).await;
    let garbage: [&[u8]; 6] = [
        b"",
        b"\0\0\0\0",
        b"\x16\x03\x01",
        b"GET\r\n\r\n",
        &vec![0xff; 70_000],
        b"CONNECT : HTTP/1.1\r\n\r\n",
    ];
    for bytes in garbage {
        let mut stream = fixture.connect().await;
        _ = stream.write_all(bytes).await;
        _ = stream.shutdown().await;
        read_all(&mut stream).await;
    }
    let (_, head) = fixture.tunnel(&format!("api.example.com:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_no_more_than_buffers() {
    let endless = |mut stream: TcpStream| async move {
        let block = vec![0; 1 << 16];
        while stream.write_all(&block).await.is_ok() {}
    };
    let port = upstream("127.0.0.1:0", endless).await.port();
    let config = Config {
        idle_timeout: Duration::from_millis(500),
        ..quick()
    };
    let fixture = Fixture::with(config, &[&format!("127.0.0.1:{port}")], &[], Vec::new());
    let (_stream, _) = fixture.tunnel(&format!("127.0.0.1:{port}")).await;
    let lines = fixture.audit.first(2).await;
    assert!(lines[1].ends_with(": timed out"), "{}", lines[1]);
    let traffic = fixture.audit.entries()[1].traffic.unwrap();
    assert!(traffic.down_bytes < 64 << 20, "{traffic:?}");
}
