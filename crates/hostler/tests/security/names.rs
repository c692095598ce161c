//! Names on the network: what a question carries out, where an allowed name leads, and what is said behind it.

use crate::network::{ATTEMPT, is_root, through};
use crate::place::skip;
use crate::product::{Product, python};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// Each name server of this process has an address of its own.
static SERVERS: AtomicU8 = AtomicU8::new(1);

/// Answers every connection with a short page, and keeps what it was sent first.
pub async fn serve(listener: TcpListener, heard: Arc<Mutex<Vec<Vec<u8>>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        heard.lock().unwrap().push(buffer[..length].to_vec());
        let page = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\npage";
        stream.write_all(page).await.ok();
    }
}

/// The machine's name server for one run: it answers every name with one address, and keeps what it was asked.
struct Names {
    resolv_conf: tempfile::NamedTempFile,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Names {
    /// None where an ordinary user cannot put it in the place of the machine's.
    async fn serve(address: Ipv4Addr) -> Option<Self> {
        let words = ["unshare", "--mount", "--propagation", "private", "true"];
        if !is_root() || !through(&words).await.is_empty() {
            return None;
        }
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let own = Ipv4Addr::new(127, 77, (std::process::id() % 250) as u8, number);
        let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V4(own), 53))
            .await
            .unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let resolv_conf = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(resolv_conf.path(), format!("nameserver {own}\n")).unwrap();
        let serving = tokio::spawn(answer(socket, address, Arc::clone(&asked)));
        Some(Self {
            resolv_conf,
            asked,
            serving,
        })
    }

    async fn run(&self, product: &Product, program: &str, flags: &[&str]) -> crate::product::Ran {
        let path = self.resolv_conf.path().to_str().unwrap();
        let change = format!("mount --bind {path} /etc/resolv.conf");
        product.sh_in_mounts(&change, &python(program), flags).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(socket: UdpSocket, address: Ipv4Addr, asked: Arc<Mutex<Vec<String>>>) {
    let mut query = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut query).await {
        let mut end = 12;
        let mut labels = Vec::new();
        while query[end] != 0 {
            let label = &query[end + 1..=end + usize::from(query[end])];
            labels.push(String::from_utf8_lossy(label).into_owned());
            end += label.len() + 1;
        }
        asked.lock().unwrap().push(labels.join("."));
        let is_a = query[end + 1..end + 3] == [0, 1] && length > end;
        let mut reply = query[..end + 5].to_vec();
        reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
        if is_a {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            reply.extend(address.octets());
        }
        socket.send_to(&reply, client).await.unwrap();
    }
}

#[tokio::test]
async fn dns_carries_nothing_out() {
    let Some(names) = Names::serve(Ipv4Addr::LOCALHOST).await else {
        return skip(
            "dns_carries_nothing_out",
            "the machine's name server can be replaced by root only",
        );
    };
    let program = format!(
        r"{ATTEMPT}
def ask(name, kind, stream=False):
    labels = b''.join(bytes([len(label)]) + label.encode() for label in name.split('.'))
    message = struct.pack('>HHHHHH', 7, 0x0100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>HH', kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as connection:
        connection.settimeout(10)
        connection.connect(('127.0.0.53', 53))
        connection.send(struct.pack('>H', len(message)) + message if stream else message)
        answer = connection.recv(512)[2 if stream else 0:]
    return answer[3] & 15, struct.unpack('>H', answer[6:8])[0]
for kind in (1, 2, 5, 12, 15, 16, 28, 33, 65, 255):
    for stream in (False, True):
        print('REFUSED', kind, *ask('the-secret.evil.example', kind, stream))
        print('EMPTY', kind, *ask('allowed.example', kind, stream))
print('BELOW', *ask('the-secret.allowed.example', 1))
print('WILD', *ask('the-secret.wild.example', 1))
with socket.create_connection(('127.0.0.3', 3128), 30) as connection:
    connection.sendall(b'CONNECT allowed.example:443 HTTP/1.1\r\nhost: allowed.example:443\r\n\r\n')
    print(connection.recv(100))"
    );
    let product = Product::new();
    let ran = names
        .run(
            &product,
            &program,
            &[
                "--allow-host",
                "allowed.example",
                "--allow-host",
                "*.wild.example",
            ],
        )
        .await;
    let said = ran.said();
    assert_eq!(
        said.lines()
            .filter(|line| line.starts_with("REFUSED") && line.ends_with(" 5 0"))
            .count(),
        20,
        "{ran:?}"
    );
    let empty = said.lines().filter(|line| line.starts_with("EMPTY"));
    for line in empty {
        let wanted = if line.starts_with("EMPTY 1 ") {
            " 0 1"
        } else {
            " 0"
        };
        assert!(line.ends_with(wanted), "{line}");
    }
    assert!(said.contains("BELOW 5 0") && said.contains("WILD 0 1"), "{said}");
    // Only the connection that was allowed asked, and for its own name.
    let asked = names.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|name| name == "allowed.example"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn an_allowed_name_with_a_private_address_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let serving = tokio::spawn(serve(listener, Arc::clone(&heard)));
    let program = format!(
        r"{ATTEMPT}
with socket.create_connection(('127.0.0.3', 3128), 30) as connection:
    connection.sendall(b'CONNECT allowed.example:{port} HTTP/1.1\r\nhost: allowed.example:{port}\r\n\r\n')
    answer = connection.recv(4096)
    print(answer)
    if b' 200' in answer:
        connection.sendall(b'GET / HTTP/1.0\r\n\r\n')
        print(connection.recv(4096))
with socket.create_connection(('allowed.example', {port}), 30) as connection:
    connection.settimeout(30)
    connection.sendall(b'GET / HTTP/1.0\r\nhost: allowed.example:{port}\r\n\r\n')
    try: print('TRANSPARENT', connection.recv(4096))
    except OSError as error: print('TRANSPARENT', error)"
    );
    let name = format!("allowed.example:{port}");
    for (last, address) in [
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(10, 0, 0, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let Some(names) = Names::serve(address).await else {
            return skip(
                "an_allowed_name_with_a_private_address_is_refused",
                "the machine's name server can be replaced by root only",
            );
        };
        let product = Product::new();
        let ran = names.run(&product, &program, &["--allow-host", &name]).await;
        assert!(ran.said().contains("HTTP/1.1 403"), "{ran:?}");
        assert!(!ran.said().contains("page"), "{ran:?}");
        assert!(!names.asked().is_empty());
        assert!(heard.lock().unwrap().is_empty(), "{last}");
    }
    // With a rule for the address, the same way leads there.
    let names = Names::serve(Ipv4Addr::LOCALHOST).await.unwrap();
    let address = format!("127.0.0.1:{port}");
    let ran = names
        .run(
            &Product::new(),
            &program,
            &["--allow-host", &name, "--allow-host", &address],
        )
        .await;
    serving.abort();
    assert!(ran.said().matches("page").count() == 2, "{ran:?}");
}

#[tokio::test]
async fn the_name_inside_a_connection_must_match() {
    let Some(names) = Names::serve(Ipv4Addr::LOCALHOST).await else {
        return skip(
            "the_name_inside_a_connection_must_match",
            "the machine's name server can be replaced by root only",
        );
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let serving = tokio::spawn(serve(listener, Arc::clone(&heard)));
    let program = format!(
        r"{ATTEMPT}
import ssl
def http(host):
    with socket.create_connection(('127.0.0.3', 3128), 30) as connection:
        connection.sendall(f'GET http://allowed.example:{port}/ HTTP/1.1\r\nhost: {{host}}\r\nconnection: close\r\n\r\n'.encode())
        return connection.recv(4096).split(b'\r\n')[0]
def tls(name, through):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = ('127.0.0.3', 3128) if through else ('allowed.example', {port})
    with socket.create_connection(address, 30) as connection:
        if through:
            connection.sendall(b'CONNECT allowed.example:{port} HTTP/1.1\r\nhost: allowed.example:{port}\r\n\r\n')
            assert b' 200' in connection.recv(4096)
        try: context.wrap_socket(connection, server_hostname=name)
        except OSError as error: return str(error).lower().replace('_', ' ')
for through in (False, True):
    print('TLS other', tls('other.example', through))
    print('TLS none', tls(None, through))
    print('TLS same', tls('allowed.example', through))
print('HTTP other', http('other.example'))
print('HTTP same', http('allowed.example:{port}'))"
    );
    let name = format!("allowed.example:{port}");
    let address = format!("127.0.0.1:{port}");
    let flags = [
        "--allow-host",
        &name,
        "--allow-host",
        &address,
        "--allow-host",
        "other.example",
    ];
    let ran = names.run(&Product::new(), &program, &flags).await;
    serving.abort();
    let said = ran.said();
    for kind in ["TLS other", "TLS none"] {
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with(kind)).collect();
        assert!(
            lines.len() == 2
                && lines
                    .iter()
                    .all(|line| line.contains("alert") || line.contains("unrecognized")),
            "{ran:?}"
        );
    }
    assert!(
        said.contains("HTTP other b'HTTP/1.1 4") && said.contains("HTTP same b'HTTP/1.1 200"),
        "{ran:?}"
    );
    // What matched arrived, and not a byte of anything else.
    let mut heard = heard.lock().unwrap();
    heard.retain(|bytes| !bytes.is_empty());
    let holds = |text: &str| {
        heard
            .iter()
            .filter(|bytes| String::from_utf8_lossy(bytes).contains(text))
            .count()
    };
    assert_eq!(
        (heard.len(), holds("allowed.example"), holds("other.example")),
        (3, 3, 0),
        "{ran:?}"
    );
}
