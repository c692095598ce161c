//! Requests in the clear through the proxy.

use crate::fixture::{Fixture, echo, mirror, read_head, read_response, soon, upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn mirroring() -> (Fixture, u16) {
    let port = upstream("127.0.0.1:0", mirror).await.port();
    let rules = [format!("api.example.com:{port}"), format!("127.0.0.1:{port}")];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    (Fixture::new(&rules, &[("api.example.com", "127.0.0.1")]), port)
}

#[tokio::test]
async fn a_request_is_forwarded_without_what_belongs_to_the_connection() {
    let (fixture, port) = mirroring().await;
    let mut stream = fixture.connect().await;
    let request = format!(
        "POST http://api.example.com:{port}/v1?x=1 HTTP/1.1\r\nHost: api.example.com:{port}\r\n\
         Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\
         TE: trailers\r\nUpgrade: h2c\r\nExpect: 100-continue\r\nAccept: */*\r\nContent-Length: 4\r\n\r\nbody"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    let (head, body) = read_response(&mut stream).await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nx-upstream: mirror\r\n"),
        "{head}"
    );
    assert!(!head.contains("x-secret"), "{head}");
    let mut lines: Vec<&str> = body.split("\r\n").collect();
    lines[1..].sort_unstable();
    let host = format!("host: api.example.com:{port}");
    assert_eq!(
        lines,
        [
            "POST /v1?x=1 HTTP/1.1",
            "",
            "accept: */*",
            "body",
            "content-length: 4",
            &host
        ]
    );
    let rule = format!("api.example.com:{port} by api.example.com:{port}");
    let lines = fixture.audit.first(2).await;
    assert_eq!(lines[0], format!("allowed http {rule}: a rule allows it"));
    assert!(
        lines[1].starts_with(&format!("closed http {rule} up ")),
        "{}",
        lines[1]
    );
    assert!(lines[1].ends_with(": closed"), "{}", lines[1]);
}

#[tokio::test]
async fn a_response_without_a_body_ends_as_well_as_one_with() {
    let bodiless = |mut stream: TcpStream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        _ = stream.read_u8().await;
    };
    let port = upstream("127.0.0.1:0", bodiless).await.port();
    let fixture = Fixture::new(&[&format!("127.0.0.1:{port}")], &[]);
    let answer = fixture
        .ask(&format!("HEAD http://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n"))
        .await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
    let end = fixture.audit.first(2).await.remove(1);
    assert!(end.ends_with(" down 41: closed"), "{end}");
}

#[tokio::test]
async fn each_request_of_a_kept_connection_is_decided_anew() {
    let (fixture, port) = mirroring().await;
    let mut stream = fixture.connect().await;
    let evil = "evil.example".to_owned();
    let good = format!("api.example.com:{port}");
    for (host, status) in [(&good, "200"), (&evil, "403"), (&good, "200"), (&evil, "403")] {
        let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = read_response(&mut stream).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}{body}");
    }
    let refused = "refused http evil.example:80: no rule allows it";
    assert_eq!(
        fixture
            .audit
            .first(6)
            .await
            .iter()
            .filter(|line| *line == refused)
            .count(),
        2
    );
}

#[tokio::test]
async fn a_host_header_for_another_host_is_refused() {
    let (fixture, port) = mirroring().await;
    let good = format!("api.example.com:{port}");
    let table = [
        ("Host: evil.example\r\n".to_owned(), "403"),
        (format!("Host: evil.example:{port}\r\n"), "403"),
        ("Host: api.example.com\r\n".to_owned(), "403"),
        ("Host: \r\n".to_owned(), "403"),
        (format!("Host: {good}\r\nHost: evil.example\r\n"), "400"),
        (format!("Host: {good}\r\n"), "200"),
        (format!("Host: API.example.com.:{port}\r\n"), "200"),
    ];
    for (headers, status) in table {
        let answer = fixture
            .ask(&format!("GET http://{good}/ HTTP/1.1\r\n{headers}\r\n"))
            .await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{headers}: {answer}");
    }
    let first = format!("refused http {good}: the request names \"evil.example\"");
    assert_eq!(fixture.audit.lines()[0], first);
}

#[tokio::test]
async fn a_request_without_a_host_gets_the_one_of_its_url() {
    let (fixture, port) = mirroring().await;
    let answer = fixture
        .ask(&format!("GET http://api.example.com:{port} HTTP/1.0\r\n\r\n"))
        .await;
    assert!(answer.contains("GET / HTTP/1.1\r\n"), "{answer}");
    assert!(
        answer.contains(&format!("host: api.example.com:{port}\r\n")),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_not_for_a_proxy_is_explained() {
    let (fixture, _) = mirroring().await;
    let table = [
        (
            "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
            "this is a proxy, not a web server",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
            "this is a proxy, not a web server",
        ),
        (
            "GET https://api.example.com/ HTTP/1.1\r\n\r\n",
            "this proxy does not fetch https URLs",
        ),
        (
            "GET ftp://api.example.com/ HTTP/1.1\r\n\r\n",
            "this proxy does not fetch ftp URLs",
        ),
    ];
    for (request, reason) in table {
        let answer = fixture.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains(reason), "{answer}");
    }
    assert!(fixture.audit.lines().is_empty());
}

#[tokio::test]
async fn a_body_of_unknown_length_streams_through() {
    let chunked = |mut stream: TcpStream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"0\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(String::from_utf8_lossy(&head).contains("\r\n\r\n3\r\nabc\r\n"));
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(answer).await.unwrap();
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    };
    let port = upstream("127.0.0.1:0", chunked).await.port();
    let fixture = Fixture::new(&[&format!("127.0.0.1:{port}")], &[]);
    let request = format!(
        "POST http://127.0.0.1:{port}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    let answer = fixture.ask(&request).await;
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    assert!(body.contains("first") && body.contains("second"), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_gateway_error() {
    let silent = |mut stream: TcpStream| async move {
        _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    };
    let closing = |mut stream: TcpStream| async move {
        _ = stream.read_u8().await;
    };
    let endless = |mut stream: TcpStream| async move {
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"x: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
            .await
            .is_ok()
        {}
    };
    for (port, status) in [
        (upstream("127.0.0.1:0", silent).await.port(), "504"),
        (upstream("127.0.0.1:0", closing).await.port(), "502"),
        (upstream("127.0.0.1:0", endless).await.port(), "502"),
        (upstream("127.0.0.1:0", echo).await.port(), "502"),
    ] {
        let fixture = Fixture::new(&[&format!("127.0.0.1:{port}")], &[]);
        let mut stream = fixture.connect().await;
        let request = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = soon(read_response(&mut stream)).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}{body}");
    }
}
