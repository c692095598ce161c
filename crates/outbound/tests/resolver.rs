//! The resolver against a name server on loopback and files of its own.
#![allow(clippy::unwrap_used)]

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use outbound::{ResolveError, Resolver, ResolverConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Knows `known.example` and `alias.example`, and counts what it is asked.
struct NameServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut buffer = [0_u8; 1500];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = answer(&Message::from_vec(&buffer[..length]).unwrap());
                socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
            }
        });
        Self { address, asked, task }
    }
}

fn answer(question: &Message) -> Message {
    let query = question.queries[0].clone();
    let name = query.name().clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let address = |name: &Name| Record::from_rdata(name.clone(), 60, RData::A(A::new(192, 0, 2, 7)));
    let known = Name::from_ascii("known.example.").unwrap();
    match (name.to_ascii().to_ascii_lowercase().as_str(), query.query_type()) {
        ("known.example.", RecordType::A) => {
            answer.add_answer(address(&name));
        }
        ("alias.example.", RecordType::A) => {
            answer.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(known.clone()))));
            answer.add_answer(address(&known));
        }
        ("known.example." | "alias.example.", _) => {
            // Says how long the absence may be kept.
            let soa = SOA::new(known.clone(), known.clone(), 1, 3600, 3600, 3600, 60);
            answer.add_authority(Record::from_rdata(
                Name::from_ascii("example.").unwrap(),
                60,
                RData::SOA(soa),
            ));
        }
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}

fn resolver(server: SocketAddr, hosts: &Path) -> Resolver {
    Resolver::new(ResolverConfig {
        resolv_conf: "/nonexistent/resolv.conf".into(),
        hosts: hosts.to_owned(),
        name_servers: Some(vec![server]),
        deadline: Duration::from_secs(5),
    })
}

fn address() -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 7).into()
}

#[tokio::test]
async fn names_are_asked_for_and_their_answers_kept() {
    let server = NameServer::start().await;
    let resolver = resolver(server.address, Path::new("/nonexistent/hosts"));
    assert_eq!(resolver.resolve("known.example").await.unwrap(), [address()]);
    let asked = server.asked.load(Ordering::SeqCst);
    assert!(asked > 0);
    assert_eq!(resolver.resolve("known.example").await.unwrap(), [address()]);
    assert_eq!(server.asked.load(Ordering::SeqCst), asked);
    assert_eq!(resolver.resolve("alias.example").await.unwrap(), [address()]);
    let unknown = resolver.resolve("unknown.example").await;
    assert!(
        matches!(&unknown, Err(ResolveError::NotFound { host }) if host == "unknown.example"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn addresses_localhost_and_nonsense_are_never_asked_for() {
    let server = NameServer::start().await;
    let resolver = resolver(server.address, Path::new("/nonexistent/hosts"));
    for (host, expected) in [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("localhost", "127.0.0.1"),
        ("LOCALHOST.", "127.0.0.1"),
        ("sub.localhost", "127.0.0.1"),
    ] {
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(resolver.resolve(host).await.unwrap()[0], expected, "{host}");
    }
    for host in ["", "a b", "http://known.example", "known..example"] {
        assert!(
            matches!(
                resolver.resolve(host).await,
                Err(ResolveError::InvalidName { .. })
            ),
            "{host}"
        );
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_read_again_when_it_changes() {
    let server = NameServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "198.51.100.1 known.example other # comment\n").unwrap();
    let resolver = resolver(server.address, &hosts);
    let first: IpAddr = "198.51.100.1".parse().unwrap();
    assert_eq!(resolver.resolve("known.example").await.unwrap(), [first]);
    assert_eq!(resolver.resolve("other").await.unwrap(), [first]);
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
    std::fs::write(&hosts, "198.51.100.22 known.example\n").unwrap();
    let second: IpAddr = "198.51.100.22".parse().unwrap();
    assert_eq!(resolver.resolve("known.example").await.unwrap(), [second]);
    std::fs::remove_file(&hosts).unwrap();
    assert_eq!(resolver.resolve("known.example").await.unwrap(), [address()]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_no_longer_than_the_deadline() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let deadline = Duration::from_millis(300);
    let resolver = Resolver::new(ResolverConfig {
        hosts: "/nonexistent/hosts".into(),
        name_servers: Some(vec![silent.local_addr().unwrap()]),
        deadline,
        ..ResolverConfig::default()
    });
    let answered = tokio::time::timeout(Duration::from_secs(10), resolver.resolve("known.example"))
        .await
        .unwrap();
    assert!(
        matches!(
            &answered,
            Err(ResolveError::Timeout { .. } | ResolveError::Failed { .. })
        ),
        "{answered:?}"
    );
}
