//! The guest against clients that behave badly, and without any.

use crate::alone::{Alone, DEADLINE, eventually, shell};
use guest_protocol::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Sends raw bytes and reads the status of the answer.
async fn raw(guest: &Alone, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(guest.directory.path().join("guest.socket"))
        .await
        .unwrap();
    // An answer may come before everything was sent.
    let _ = stream.write_all(request).await;
    let mut answer = vec![0; 4096];
    let length = timeout(DEADLINE, stream.read(&mut answer))
        .await
        .unwrap()
        .unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn requests_that_are_wrong_get_an_answer_that_says_so() {
    let guest = Alone::start().await;
    let long_head = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET /v1/health HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    let large = format!(
        "POST /v1/processes HTTP/1.1\r\nhost: g\r\ncontent-length: 2000000\r\n\r\n{}",
        " ".repeat(2_000_000)
    );
    let table: [(&[u8], &str); 9] = [
        (b"GET /v1/nothing HTTP/1.1\r\nhost: g\r\n\r\n", "404"),
        (b"PATCH /v1/health HTTP/1.1\r\nhost: g\r\n\r\n", "404"),
        (b"GET /v1/health?pretty=true HTTP/1.1\r\nhost: g\r\n\r\n", "400"),
        (
            b"POST /v1/processes HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n\r\n{}",
            "400",
        ),
        (b"GET /v1/changes HTTP/1.1\r\nhost: g\r\n\r\n", "404"),
        (
            b"GET /v1/processes/none/output?after=x HTTP/1.1\r\nhost: g\r\n\r\n",
            "400",
        ),
        (long_head.as_bytes(), "414"),
        (many_headers.as_bytes(), "431"),
        (large.as_bytes(), "413"),
    ];
    for (request, status) in table {
        let answer = raw(&guest, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {answer}"
        );
        if status == "400" || status == "404" || status == "413" {
            assert!(answer.contains(r#"{"error":{"kind":""#), "{answer}");
        }
    }
    assert!(
        raw(&guest, b"\0\0\0\0\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400 ")
    );
    guest.client.health().await.unwrap();
}

#[tokio::test]
async fn followers_that_went_away_are_forgotten() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&shell("x", "echo here; exec sleep 1000"))
        .await
        .unwrap();
    for _ in 0..200 {
        let mut stream = guest.again().output("x", 0, true).await.unwrap();
        stream.next().await.unwrap();
    }
    let fds = format!("/proc/{}/fd", guest.child.id());
    eventually("their connections are closed", || {
        std::fs::read_dir(&fds).unwrap().count() < 30
    })
    .await;
    guest.client.health().await.unwrap();
}

#[tokio::test]
async fn more_clients_than_are_served_wait_and_are_served_when_others_leave() {
    let guest = Alone::start().await;
    let socket = guest.directory.path().join("guest.socket");
    let mut idle = Vec::new();
    for _ in 0..70 {
        idle.push(UnixStream::connect(&socket).await.unwrap());
    }
    let client = Client::new(&socket);
    let health = client.health();
    tokio::pin!(health);
    let early = timeout(std::time::Duration::from_millis(50), &mut health).await;
    assert!(early.is_err(), "it waits in the backlog");
    drop(idle);
    assert_eq!(
        timeout(DEADLINE, health).await.unwrap().unwrap().version,
        guest_protocol::VERSION
    );
}

#[tokio::test]
async fn sigterm_ends_the_guest_with_success() {
    let mut guest = Alone::start().await;
    let pid = guest.child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .arg(&pid)
            .status()
            .unwrap()
            .success()
    );
    let mut ended = None;
    eventually("it ends", || {
        ended = guest.child.try_wait().unwrap();
        ended.is_some()
    })
    .await;
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[tokio::test]
async fn other_signals_do_not_end_the_guest() {
    let guest = Alone::start().await;
    for signal in [
        "HUP", "INT", "QUIT", "PIPE", "USR1", "USR2", "ALRM", "TSTP", "TTIN",
    ] {
        let pid = guest.child.id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        guest.client.health().await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_guest_is_small() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&shell("x", "echo here; exec sleep 1000"))
        .await
        .unwrap();
    crate::alone::read_until(&guest.client, "x", "here").await;
    let stats = guest.client.stats().await.unwrap();
    assert_eq!(stats.processes, 1);
    assert!(stats.disk_total_bytes > stats.disk_free_bytes);
    assert!(
        (100 << 10..3 << 20).contains(&stats.guest_resident_bytes),
        "{}",
        stats.guest_resident_bytes
    );
    let private = guest.memory("RssAnon");
    assert!(private < 1 << 10, "{private} KiB of its own");
}
