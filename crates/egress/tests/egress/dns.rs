//! DNS over real sockets. What is answered to what is tested at the level of messages, beside the code.

use crate::fixture::{Fixture, quick, read_all, soon};
use egress::Config;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message
        .queries
        .push(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn address(answer: &[u8]) -> (u16, Option<Ipv4Addr>) {
    let message = Message::from_vec(answer).unwrap();
    let address = message.answers.first().and_then(|record| match record.data {
        RData::A(a) => Some(a.0),
        _ => None,
    });
    (message.metadata.id, address)
}

async fn client(fixture: &Fixture) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(fixture.dns_udp).await.unwrap();
    socket
}

async fn receive(socket: &UdpSocket) -> (u16, Option<Ipv4Addr>) {
    let mut buffer = [0; 4096];
    let length = soon(socket.recv(&mut buffer)).await.unwrap();
    address(&buffer[..length])
}

async fn ask_stream(stream: &mut TcpStream, message: &[u8]) -> (u16, Option<Ipv4Addr>) {
    stream.write_u16(message.len() as u16).await.unwrap();
    stream.write_all(message).await.unwrap();
    let mut answer = vec![0; usize::from(soon(stream.read_u16()).await.unwrap())];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    address(&answer)
}

#[tokio::test]
async fn both_transports_give_the_same_address_and_ask_nobody() {
    let fixture = Fixture::new(&["api.example.com"], &[("api.example.com", "93.184.216.34")]);
    let socket = client(&fixture).await;
    socket.send(&query(1, "api.example.com.")).await.unwrap();
    let synthetic = Some(Ipv4Addr::new(198, 18, 0, 1));
    assert_eq!(receive(&socket).await, (1, synthetic));
    socket.send(&query(2, "evil.example.")).await.unwrap();
    assert_eq!(receive(&socket).await, (2, None));

    let mut stream = TcpStream::connect(fixture.dns_tcp).await.unwrap();
    assert_eq!(
        ask_stream(&mut stream, &query(3, "api.example.com.")).await,
        (3, synthetic)
    );
    assert_eq!(
        ask_stream(&mut stream, &query(4, "evil.example.")).await,
        (4, None)
    );

    assert!(fixture.zone.asked.lock().unwrap().is_empty());
    let expected = [
        "allowed dns api.example.com:53 by api.example.com: a rule is about it",
        "refused dns evil.example:53: no rule is about it",
        "refused dns evil.example:53: no rule is about it",
    ];
    assert_eq!(fixture.audit.lines(), expected);
}

#[tokio::test]
async fn malformed_messages_are_dropped_and_the_next_good_one_is_answered() {
    let fixture = Fixture::new(&["api.example.com"], &[]);
    let socket = client(&fixture).await;
    for garbage in [&b""[..], b"x", &[0xff; 12], &[0; 4000], &[0xc0; 9000]] {
        socket.send(garbage).await.unwrap();
    }
    socket.send(&query(9, "api.example.com.")).await.unwrap();
    // All zeros are a query without a question: it gets an error, which is not the answer waited for.
    let answer = async {
        loop {
            let (id, address) = receive(&socket).await;
            if id == 9 {
                return address;
            }
        }
    };
    assert_eq!(soon(answer).await, Some(Ipv4Addr::new(198, 18, 0, 1)));
}

#[tokio::test]
async fn a_stream_that_does_not_speak_dns_or_does_not_speak_is_closed() {
    let config = Config {
        opening_timeout: Duration::from_millis(300),
        ..quick()
    };
    let fixture = Fixture::with(config, &["api.example.com"], &[], Vec::new());
    for bytes in [&[0xff, 0xff][..], &[0, 3, 1, 2, 3], &[0, 50, 1], &[0], &[]] {
        let mut stream = TcpStream::connect(fixture.dns_tcp).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(read_all(&mut stream).await, "", "{bytes:?}");
    }
}

#[tokio::test]
async fn a_flood_is_held_to_the_rate_and_leaves_no_backlog_of_answers() {
    let config = Config {
        dns_queries_per_second: 50,
        ..quick()
    };
    let fixture = Fixture::with(config, &["*.example.com"], &[], Vec::new());
    let flood = client(&fixture).await;
    let start = tokio::time::Instant::now();
    for index in 0..20_000_u32 {
        _ = flood.try_send(&query(index as u16, &format!("n{index}.example.com.")));
    }
    let other = client(&fixture).await;
    let name = "good.example.com.";
    let answer = async {
        // Lost in the flood's buffer at first, as from any busy name server; clients ask again.
        loop {
            other.send(&query(7, name)).await.unwrap();
            if tokio::time::timeout(Duration::from_millis(500), receive(&other))
                .await
                .is_ok()
            {
                return;
            }
        }
    };
    soon(answer).await;
    let answered = fixture
        .audit
        .lines()
        .iter()
        .filter(|line| line.starts_with("allowed dns n"))
        .count();
    let most = 50.0 + 50.0 * start.elapsed().as_secs_f64() + 1.0;
    assert!((answered as f64) <= most, "{answered} of at most {most}");
}

#[tokio::test]
async fn a_connect_to_a_synthetic_address_means_its_name() {
    let fixture = Fixture::new(&["api.example.com"], &[("api.example.com", "10.0.0.1")]);
    let socket = client(&fixture).await;
    socket.send(&query(1, "api.example.com.")).await.unwrap();
    assert_eq!(receive(&socket).await.1, Some(Ipv4Addr::new(198, 18, 0, 1)));
    fixture.ask("CONNECT 198.18.0.1:443 HTTP/1.1\r\n\r\n").await;
    fixture.ask("CONNECT 198.18.0.2:443 HTTP/1.1\r\n\r\n").await;
    let expected = [
        "refused connect api.example.com:443: 10.0.0.1 is a private address, which a rule must name itself",
        "refused connect 198.18.0.2:443: 198.18.0.2 is of the synthetic addresses, which no rule can allow",
    ];
    assert_eq!(fixture.audit.first(3).await[1..], expected);
}
