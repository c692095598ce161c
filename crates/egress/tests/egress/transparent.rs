//! Transparent listeners, and what else needs ports 80 and 443, in a network namespace where `198.18.0.0/15` is
//! local, as it is in a sandbox. Each test makes one and runs itself there.

use crate::fixture::{
    Fixture, client_hello, echo, exchange, mirror, quick, read_all, read_response, soon, upstream,
};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const INSIDE: &str = "HOSTLER_TEST_INSIDE_A_NETWORK_NAMESPACE";
const SETUP: &str = "ip link set lo up && ip route add local 198.18.0.0/15 dev lo && exec \"$0\" \"$@\"";

fn in_namespace(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let flags: &[&str] = if rustix::process::geteuid().is_root() {
        &["--net"]
    } else {
        &["--map-root-user", "--net"]
    };
    command.args(flags).args(["sh", "-c", script]).args(arguments);
    command
}

/// Whether this is the process in the namespace. If not, it runs the test there, in a process of its own.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let possible = in_namespace(SETUP, &["true"]).output();
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        println!("SKIP {test}: this machine makes no network namespace with a local range: {possible:?}");
        return false;
    }
    let this = std::env::current_exe().unwrap();
    let path = format!("transparent::inside::{test}");
    let arguments = [this.to_str().unwrap(), "--exact", &path];
    let output = in_namespace(SETUP, &arguments).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("test result: ok. 1 passed; 0 failed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

mod inside {
    use super::*;

    const ACCESS_DENIED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 49];
    const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];
    const UNEXPECTED_MESSAGE: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 10];

    const UPSTREAM: &str = "127.0.1.1";
    const NAMES: [(&str, &str); 5] = [
        ("api.example.com", UPSTREAM),
        ("a.b.example.org", UPSTREAM),
        ("db.example.com", UPSTREAM),
        ("private.example.com", "10.0.0.1"),
        ("web.example.com", UPSTREAM),
    ];

    /// The rules, and the upstream's address by name, so that it may be on loopback. The listeners are bound to the
    /// first two synthetic addresses: the upstream has the same ports in the same namespace.
    fn egress(rules: &[&str]) -> Fixture {
        let hosts = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];
        let ports = [80, 443, 5432];
        let sockets = hosts.iter().flat_map(|host| ports.map(|port| (*host, port)));
        serve(
            rules,
            sockets.map(|socket| TcpListener::bind(socket).unwrap()).collect(),
        )
    }

    /// As in a sandbox.
    fn egress_on_wildcards(rules: &[&str]) -> Fixture {
        let bind = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        serve(rules, [80, 443].map(bind).into())
    }

    fn serve(rules: &[&str], listeners: Vec<TcpListener>) -> Fixture {
        let rules: Vec<&str> = rules
            .iter()
            .copied()
            .chain(["127.0.1.1", "127.0.1.1:5432"])
            .collect();
        Fixture::with(quick(), &rules, &NAMES, listeners)
    }

    async fn look_up(fixture: &Fixture, name: &str) -> Ipv4Addr {
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message
            .queries
            .push(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket
            .send_to(&message.to_vec().unwrap(), fixture.dns_udp)
            .await
            .unwrap();
        let mut buffer = [0; 512];
        let length = soon(socket.recv(&mut buffer)).await.unwrap();
        match Message::from_vec(&buffer[..length]).unwrap().answers[0].data {
            RData::A(a) => a.0,
            ref other => panic!("{other:?}"),
        }
    }

    async fn connect(fixture: &Fixture, name: &str, port: u16) -> TcpStream {
        let address = look_up(fixture, name).await;
        soon(TcpStream::connect((address, port))).await.unwrap()
    }

    /// What comes back on a connection that begins with these bytes and stays open.
    async fn begin(fixture: &Fixture, name: &str, port: u16, bytes: &[u8]) -> Vec<u8> {
        let mut stream = connect(fixture, name, port).await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        _ = soon(stream.read_to_end(&mut answer)).await;
        answer
    }

    fn after_dns(fixture: &Fixture) -> Vec<String> {
        fixture
            .audit
            .lines()
            .into_iter()
            .filter(|line| !line.contains(" dns "))
            .collect()
    }

    #[tokio::test]
    async fn tls_to_a_synthetic_address_reaches_the_name_it_stands_for() {
        if !is_inside("tls_to_a_synthetic_address_reaches_the_name_it_stands_for") {
            return;
        }
        upstream("127.0.1.1:443", echo).await;
        let fixture = egress(&["api.example.com", "*.example.org"]);
        for name in ["api.example.com", "a.b.example.org"] {
            let hello = client_hello(name);
            let mut stream = connect(&fixture, name, 443).await;
            stream.write_all(&hello).await.unwrap();
            let mut back = vec![0; hello.len()];
            soon(stream.read_exact(&mut back)).await.unwrap();
            assert_eq!(back, hello, "what was looked into arrives unchanged");
            assert_eq!(exchange(stream, b"more").await, "more");
        }
        let length = client_hello("api.example.com").len() + 4;
        fixture.audit.first(6).await;
        let expected = [
            "allowed tls api.example.com:443 by api.example.com: a rule allows it".to_owned(),
            format!("closed tls api.example.com:443 by api.example.com up {length} down {length}: closed"),
        ];
        assert_eq!(after_dns(&fixture)[..2], expected);
    }

    #[tokio::test]
    async fn tls_that_names_another_host_or_none_gets_an_alert_and_nothing_is_connected() {
        if !is_inside("tls_that_names_another_host_or_none_gets_an_alert_and_nothing_is_connected") {
            return;
        }
        let fixture = egress(&["api.example.com", "web.example.com:80"]);
        let table = [
            ("api.example.com", client_hello("evil.example"), UNRECOGNIZED_NAME),
            ("api.example.com", client_hello("127.0.0.1"), UNRECOGNIZED_NAME),
            (
                "api.example.com",
                b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                UNEXPECTED_MESSAGE,
            ),
            ("web.example.com", client_hello("web.example.com"), ACCESS_DENIED),
        ];
        for (name, bytes, alert) in table {
            assert_eq!(begin(&fixture, name, 443, &bytes).await, alert);
        }
        let expected = [
            "refused tls api.example.com:443: the ClientHello names \"evil.example\"",
            "refused tls api.example.com:443: the ClientHello names no host",
            "refused tls api.example.com:443: this is not TLS",
            "refused tls web.example.com:443: the rule for it is for port 80",
        ];
        assert_eq!(after_dns(&fixture), expected);
        assert!(fixture.zone.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_refused() {
        if !is_inside("a_name_that_leads_to_a_private_address_is_refused") {
            return;
        }
        let fixture = egress(&["private.example.com"]);
        let hello = client_hello("private.example.com");
        assert_eq!(
            begin(&fixture, "private.example.com", 443, &hello).await,
            ACCESS_DENIED
        );
        let request = b"GET / HTTP/1.1\r\nHost: private.example.com\r\n\r\n";
        let stream = connect(&fixture, "private.example.com", 80).await;
        let answer = exchange(stream, request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(
            answer.contains("start the session with --allow-host 10.0.0.1\n"),
            "{answer}"
        );
        let reason = "10.0.0.1 is a private address, which a rule must name itself";
        let expected = [
            format!("refused tls private.example.com:443: {reason}"),
            format!("refused http private.example.com:80: {reason}"),
        ];
        assert_eq!(after_dns(&fixture), expected);
    }

    #[tokio::test]
    async fn http_is_decided_request_by_request_and_its_host_must_be_the_address_s_name() {
        if !is_inside("http_is_decided_request_by_request_and_its_host_must_be_the_address_s_name") {
            return;
        }
        upstream("127.0.1.1:80", mirror).await;
        let fixture = egress(&["api.example.com", "a.b.example.org"]);
        let mut stream = connect(&fixture, "api.example.com", 80).await;
        let table = [
            ("Host: api.example.com\r\n", "200"),
            ("Host: a.b.example.org\r\n", "403"),
            ("Host: API.example.com.:80\r\n", "200"),
            ("Host: api.example.com:443\r\n", "403"),
            ("", "400"),
        ];
        for (headers, status) in table {
            let request = format!("GET /x HTTP/1.1\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let (head, body) = read_response(&mut stream).await;
            assert_eq!(head.split(' ').nth(1), Some(status), "{headers}: {head}{body}");
        }
        let expected = [
            "allowed http api.example.com:80 by api.example.com: a rule allows it",
            "refused http api.example.com:80: the request names \"a.b.example.org\"",
        ];
        let lines = after_dns(&fixture);
        assert_eq!([&lines[0], &lines[2]], expected, "{lines:?}");
        let absolute = "GET http://a.b.example.org/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
        let connect_request = "CONNECT api.example.com:80 HTTP/1.1\r\n\r\n";
        for (request, status) in [(absolute, "403"), (connect_request, "400")] {
            let stream = connect(&fixture, "api.example.com", 80).await;
            let answer = exchange(stream, request.as_bytes()).await;
            assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        }
    }

    #[tokio::test]
    async fn other_ports_pass_by_address_and_tls_on_them_by_name() {
        if !is_inside("other_ports_pass_by_address_and_tls_on_them_by_name") {
            return;
        }
        upstream("127.0.1.1:5432", echo).await;
        let fixture = egress(&["db.example.com:5432", "api.example.com"]);
        let stream = connect(&fixture, "db.example.com", 5432).await;
        assert_eq!(
            exchange(stream, b"\0\0\0\x08\x04\xd2\x16/").await,
            "\0\0\0\x08\x04\u{fffd}\x16/"
        );
        let answer = begin(&fixture, "db.example.com", 5432, &client_hello("evil.example")).await;
        assert_eq!(answer, UNRECOGNIZED_NAME);
        let mut refused = connect(&fixture, "api.example.com", 5432).await;
        assert_eq!(read_all(&mut refused).await, "");
        let rule = "db.example.com:5432 by db.example.com:5432";
        fixture.audit.first(8).await;
        let expected = [
            format!("allowed tcp {rule}: a rule allows it"),
            format!("closed tcp {rule} up 8 down 8: closed"),
            format!("allowed tcp {rule}: a rule allows it"),
            "refused tls db.example.com:5432: the ClientHello names \"evil.example\"".to_owned(),
            format!("closed tcp {rule} up 0 down 0: the ClientHello names \"evil.example\""),
            "refused tcp api.example.com:5432: the rule for it is for ports 80 and 443".to_owned(),
        ];
        assert_eq!(after_dns(&fixture), expected);
    }

    #[tokio::test]
    async fn addresses_that_stand_for_no_name_are_closed() {
        if !is_inside("addresses_that_stand_for_no_name_are_closed") {
            return;
        }
        let fixture = egress_on_wildcards(&["api.example.com"]);
        for (address, port) in [
            ("198.18.0.9", 80),
            ("198.19.255.255", 443),
            ("127.0.0.1", 80),
            ("127.0.0.9", 443),
        ] {
            let mut stream = soon(TcpStream::connect((address, port))).await.unwrap();
            assert_eq!(read_all(&mut stream).await, "", "{address}");
        }
        let expected = [
            "refused tcp 198.18.0.9:80: no name was given this address",
            "refused tcp 198.19.255.255:443: no name was given this address",
        ];
        assert_eq!(after_dns(&fixture), expected);
    }

    #[tokio::test]
    async fn an_upstream_that_refuses_breaks_the_connection_as_it_would_directly() {
        if !is_inside("an_upstream_that_refuses_breaks_the_connection_as_it_would_directly") {
            return;
        }
        let fixture = egress(&["api.example.com"]);
        let mut stream = connect(&fixture, "api.example.com", 443).await;
        stream.write_all(&client_hello("api.example.com")).await.unwrap();
        let error = soon(stream.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let request = b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
        let answer = exchange(connect(&fixture, "api.example.com", 80).await, request).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(
            answer.contains("api.example.com:80 was not reached: connection refused"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_tunnel_to_port_443_carries_tls_of_its_host_and_what_is_not_tls() {
        if !is_inside("a_tunnel_to_port_443_carries_tls_of_its_host_and_what_is_not_tls") {
            return;
        }
        let greeting = |mut stream: TcpStream| async move {
            stream.write_all(b"hi ").await.unwrap();
            echo(stream).await;
        };
        upstream("127.0.1.1:443", greeting).await;
        let fixture = egress(&["api.example.com"]);
        let (mut stream, _) = fixture.tunnel("api.example.com:443").await;
        stream.write_all(&client_hello("evil.example")).await.unwrap();
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, UNRECOGNIZED_NAME, "and nothing of the upstream before it");
        let (stream, _) = fixture.tunnel("api.example.com:443").await;
        assert_eq!(exchange(stream, b"SSH-2.0-x").await, "hi SSH-2.0-x");
    }
}
