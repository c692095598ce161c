//! `CONNECT`: who gets a tunnel, what is said to who does not, and what may pass through it.

use crate::fixture::{Fixture, client_hello, echo, exchange, read_all, soon, upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];
const DECODE_ERROR: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 50];

/// An echo server that `api.example.com` leads to and that the rules name by address too.
async fn echoing() -> (Fixture, u16) {
    let port = upstream("127.0.0.1:0", echo).await.port();
    let rules = [format!("api.example.com:{port}"), format!("127.0.0.1:{port}")];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    (Fixture::new(&rules, &[("api.example.com", "127.0.0.1")]), port)
}

#[tokio::test]
async fn an_allowed_host_gets_a_tunnel_and_two_audit_lines() {
    let (fixture, port) = echoing().await;
    let (stream, head) = fixture.tunnel(&format!("api.example.com:{port}")).await;
    assert_eq!(head, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(exchange(stream, b"hello").await, "hello");
    let rule = format!("api.example.com:{port} by api.example.com:{port}");
    let expected = [
        format!("allowed connect {rule}: a rule allows it"),
        format!("closed connect {rule} up 5 down 5: closed"),
    ];
    assert_eq!(fixture.audit.first(2).await, expected);
    let entry = fixture.audit.entries().remove(0);
    assert_eq!(entry.session, fixture.session);
    let json = serde_json::to_value(&entry).unwrap();
    assert_eq!(json["transport"], "connect");
    assert_eq!(json["port"], port);
}

#[tokio::test]
async fn a_host_without_a_rule_gets_a_readable_refusal_and_nothing_is_looked_up() {
    let (fixture, _) = echoing().await;
    let answer = fixture.ask("CONNECT evil.example:443 HTTP/1.1\r\n\r\n").await;
    let expected = "HTTP/1.1 403 Forbidden, allow it with --allow-host evil.example\r\n\
        content-type: text/plain; charset=utf-8\r\ncontent-length: 132\r\n\r\n\
        hostler: this sandbox may not connect to evil.example:443: no rule allows it\n\
        To allow it, start the session with --allow-host evil.example\n";
    let length = expected.split("\r\n\r\n").nth(1).unwrap().len();
    assert_eq!(answer, expected.replace("132", &length.to_string()));
    assert_eq!(
        fixture.audit.lines(),
        ["refused connect evil.example:443: no rule allows it"]
    );
    assert!(fixture.zone.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn names_wildcards_ports_and_addresses_are_decided_as_the_rules_say() {
    let port = upstream("127.0.0.1:0", echo).await.port();
    let rules = [format!("*.example.com:{port}"), format!("127.0.0.1:{port}")];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let names = [
        ("a.example.com", "127.0.0.1"),
        ("x.y.example.com", "127.0.0.1"),
        ("example.com", "127.0.0.1"),
    ];
    let fixture = Fixture::new(&rules, &names);
    let table = [
        (format!("a.example.com:{port}"), "200"),
        (format!("A.EXAMPLE.com.:{port}"), "200"),
        (format!("x.y.example.com:{port}"), "200"),
        (format!("example.com:{port}"), "403"),
        ("a.example.com:443".to_owned(), "403"),
        (format!("127.0.0.1:{port}"), "200"),
        ("127.0.0.1:22".to_owned(), "403"),
        (format!("127.0.0.2:{port}"), "403"),
        (format!("[::1]:{port}"), "403"),
        (format!("[::ffff:127.0.0.1]:{port}"), "200"),
        (format!("localhost:{port}"), "403"),
        ("169.254.169.254:80".to_owned(), "403"),
        ("198.18.0.1:443".to_owned(), "403"),
        (format!("127.1:{port}"), "400"),
        (format!("0x7f000001:{port}"), "400"),
        ("a.example.com".to_owned(), "400"),
        ("a.example.com:0".to_owned(), "400"),
        (format!("me@a.example.com:{port}"), "400"),
    ];
    for (destination, status) in table {
        let (_, head) = fixture.tunnel(&destination).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{destination}: {head}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused_after_it_was_resolved() {
    let names = [
        ("rebound.example", "127.0.0.1"),
        ("cloud.example", "169.254.169.254"),
        ("mapped.example", "::ffff:10.0.0.1"),
        ("zero.example", "0.0.0.0 10.0.0.1"),
    ];
    let fixture = Fixture::new(
        &[
            "*.example.org",
            "rebound.example",
            "cloud.example",
            "mapped.example",
            "zero.example",
        ],
        &names,
    );
    let table = [
        ("rebound.example", "127.0.0.1 is a loopback address"),
        ("cloud.example", "169.254.169.254 is a cloud metadata address"),
        ("mapped.example", "10.0.0.1 is a private address"),
        (
            "zero.example",
            "0.0.0.0 is of the unspecified addresses, which no rule can allow",
        ),
    ];
    for (name, reason) in table {
        let answer = fixture.ask(&format!("CONNECT {name}:443 HTTP/1.1\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(answer.contains(reason), "{answer}");
    }
    let lines = fixture.audit.lines();
    let first =
        "refused connect rebound.example:443: 127.0.0.1 is a loopback address, which a rule must name itself";
    assert_eq!(lines[0], first);
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[tokio::test]
async fn an_upstream_that_fails_is_told_apart_from_a_refusal() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let rules = [format!("*.example.com:{closed}"), format!("127.0.0.1:{closed}")];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let fixture = Fixture::new(
        &rules,
        &[
            ("closed.example.com", "127.0.0.1"),
            ("silent.example.com", "never"),
        ],
    );
    let table = [
        ("closed", "502", "connection refused"),
        ("missing", "502", "there is no such host"),
        (
            "silent",
            "504",
            "was not reached: no name server answered in time",
        ),
    ];
    for (name, status, reason) in table {
        let answer = fixture
            .ask(&format!("CONNECT {name}.example.com:{closed} HTTP/1.1\r\n\r\n"))
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(reason), "{answer}");
    }
    let ends = fixture.audit.first(6).await;
    let name = format!("closed.example.com:{closed} by *.example.com:{closed}");
    assert_eq!(
        ends[1],
        format!("closed connect {name} up 0 down 0: connection refused")
    );
}

#[tokio::test]
async fn a_client_hello_in_a_tunnel_must_name_the_host_of_the_tunnel() {
    let (fixture, port) = echoing().await;
    let destination = format!("api.example.com:{port}");

    let hello = client_hello("api.example.com");
    let (mut stream, _) = fixture.tunnel(&destination).await;
    stream.write_all(&hello).await.unwrap();
    let mut back = vec![0; hello.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, hello, "what was looked into arrives unchanged");

    let refused = [
        (
            client_hello("evil.example"),
            UNRECOGNIZED_NAME,
            "the ClientHello names \"evil.example\"",
        ),
        (
            client_hello("127.0.0.1"),
            UNRECOGNIZED_NAME,
            "the ClientHello names no host",
        ),
        (
            b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00".to_vec(),
            DECODE_ERROR,
            "the ClientHello is malformed or too long",
        ),
    ];
    for (bytes, alert, reason) in refused {
        let (mut stream, _) = fixture.tunnel(&destination).await;
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, alert);
        let lines = fixture.audit.lines();
        let count = lines.len();
        assert_eq!(lines[count - 2], format!("refused tls {destination}: {reason}"));
        let rule = format!("{destination} by {destination}");
        assert_eq!(
            lines[count - 1],
            format!("closed connect {rule} up 0 down 0: {reason}")
        );
    }
}

#[tokio::test]
async fn a_tunnel_to_an_address_that_a_rule_names_takes_any_server_name() {
    let (fixture, port) = echoing().await;
    let hello = client_hello("whatever.example");
    let (mut stream, _) = fixture.tunnel(&format!("127.0.0.1:{port}")).await;
    stream.write_all(&hello).await.unwrap();
    let mut back = vec![0; hello.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, hello);
}

#[tokio::test]
async fn bytes_sent_together_with_the_connect_are_looked_into_too() {
    let (fixture, port) = echoing().await;
    let request = format!("CONNECT api.example.com:{port} HTTP/1.1\r\n\r\n");
    let mut stream = fixture.connect().await;
    stream
        .write_all(&[request.as_bytes(), &client_hello("evil.example")].concat())
        .await
        .unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(
        answer,
        [b"HTTP/1.1 200 OK\r\n\r\n", &UNRECOGNIZED_NAME[..]].concat()
    );
    let answer = fixture.ask(&format!("{request}plain")).await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\n\r\nplain");
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let greet = |mut stream: TcpStream| async move {
        stream.write_all(b"220 mail\r\n").await.unwrap();
        echo(stream).await;
    };
    let port = upstream("127.0.0.1:0", greet).await.port();
    let fixture = Fixture::new(
        &[&format!("127.0.0.1:{port}"), &format!("mail.example:{port}")],
        &[("mail.example", "127.0.0.1")],
    );
    let (mut stream, _) = fixture.tunnel(&format!("mail.example:{port}")).await;
    let mut greeting = [0; 10];
    soon(stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"220 mail\r\n");
    assert_eq!(exchange(stream, b"QUIT").await, "QUIT");
}

#[tokio::test]
async fn an_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let late = |mut stream: TcpStream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream
            .write_all(format!("got {} bytes", all.len()).as_bytes())
            .await
            .unwrap();
    };
    let port = upstream("127.0.0.1:0", late).await.port();
    let fixture = Fixture::new(&[&format!("127.0.0.1:{port}")], &[]);
    let (stream, _) = fixture.tunnel(&format!("127.0.0.1:{port}")).await;
    assert_eq!(exchange(stream, &vec![7; 300_000]).await, "got 300000 bytes");
    let rule = format!("127.0.0.1:{port}");
    let lines = fixture.audit.first(2).await;
    assert_eq!(
        lines[1],
        format!("closed connect {rule} by {rule} up 300000 down 16: closed")
    );
}

#[tokio::test]
async fn a_broken_upstream_does_not_look_like_a_whole_one() {
    let breaking = |mut stream: TcpStream| async move {
        stream.read_u8().await.unwrap();
        stream.write_all(b"half").await.unwrap();
        stream.set_zero_linger().unwrap();
    };
    let port = upstream("127.0.0.1:0", breaking).await.port();
    let fixture = Fixture::new(&[&format!("127.0.0.1:{port}")], &[]);
    let (mut stream, _) = fixture.tunnel(&format!("127.0.0.1:{port}")).await;
    stream.write_all(b"x").await.unwrap();
    let mut bytes = Vec::new();
    let error = soon(stream.read_to_end(&mut bytes)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn two_hundred_tunnels_at_once_are_served() {
    let (fixture, port) = echoing().await;
    let mut tunnels = tokio::task::JoinSet::new();
    for index in 0..200 {
        let proxy = fixture.proxy;
        tunnels.spawn(async move {
            let stream = soon(TcpStream::connect(proxy)).await.unwrap();
            let request = format!("CONNECT api.example.com:{port} HTTP/1.1\r\n\r\nnumber {index}");
            exchange(stream, request.as_bytes()).await
        });
    }
    let mut answers: Vec<String> = soon(tunnels.join_all()).await;
    let mut expected: Vec<String> = (0..200)
        .map(|index| format!("HTTP/1.1 200 OK\r\n\r\nnumber {index}"))
        .collect();
    answers.sort();
    expected.sort();
    assert_eq!(answers, expected);
    assert_eq!(fixture.audit.first(400).await.len(), 400);
}

#[tokio::test]
async fn stopping_cuts_what_is_open_and_audits_it() {
    let (mut fixture, port) = echoing().await;
    let (mut stream, _) = fixture.tunnel(&format!("api.example.com:{port}")).await;
    stream.write_all(b"abc").await.unwrap();
    soon(stream.read_exact(&mut [0; 3])).await.unwrap();
    soon(fixture.serving.take().unwrap().stop()).await;
    let rule = format!("api.example.com:{port} by api.example.com:{port}");
    assert_eq!(
        fixture.audit.lines()[1],
        format!("closed connect {rule} up 3 down 3: cut")
    );
    assert_eq!(read_all(&mut stream).await, "");
    assert!(TcpStream::connect(fixture.proxy).await.is_err(), "nobody listens");
}
