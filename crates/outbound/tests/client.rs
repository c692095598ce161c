//! The client against servers on loopback: what went wrong is told apart.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Full};
use outbound::{Client, ClientConfig, Proxies, RequestError, ResolveError, Resolver, ResolverConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
/// Set for the process that a test starts to have an environment of its own.
const CHILD: &str = "HOSTLER_OUTBOUND_TEST_CHILD";

fn client(change: impl FnOnce(&mut ClientConfig)) -> Client {
    let mut config = ClientConfig {
        connect_timeout: Duration::from_secs(5),
        ..ClientConfig::default()
    };
    change(&mut config);
    Client::new(config)
}

async fn get(client: &Client, url: &str) -> Result<String, RequestError> {
    let request = Request::get(url).body(Empty::<Bytes>::new()).unwrap();
    let answering = tokio::time::timeout(Duration::from_secs(20), client.request(request));
    let body = answering
        .await
        .expect("the client has deadlines of its own")?
        .into_body();
    let bytes = body.collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

/// Serves each connection with `answer` to every request; counts connections.
async fn server(answer: &'static [u8], close: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, answer, close));
        }
    });
    (url, connections)
}

/// Ends each connection as it begins.
async fn server_that_is_gone_at_once() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    (url, serving)
}

async fn serve(mut stream: TcpStream, answer: &'static [u8], close: bool) {
    let mut seen = Vec::new();
    let mut buffer = [0_u8; 4096];
    while let Ok(count) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..count]);
        if count == 0 {
            return;
        }
        if seen.ends_with(b"\r\n\r\n") || seen.ends_with(b"body") {
            seen.clear();
            stream.write_all(answer).await.unwrap();
            if close {
                return;
            }
        }
    }
}

#[tokio::test]
async fn requests_are_answered_on_a_connection_that_is_kept() {
    let (url, connections) = server(ANSWER, false).await;
    let client = client(|_| {});
    for _ in 0..3 {
        assert_eq!(get(&client, &url).await.unwrap(), "hello");
    }
    let by_name = url.replace("127.0.0.1", "localhost");
    let request = Request::post(by_name)
        .body(Full::new(Bytes::from_static(b"body")))
        .unwrap();
    assert_eq!(client.request(request).await.unwrap().status(), 200);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_went_wrong_is_told_apart() {
    let client = client(|config| {
        config.connect_timeout = Duration::from_millis(500);
        config.response_timeout = Some(Duration::from_secs(2));
    });
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = get(&client, &format!("http://{closed}/")).await.unwrap_err();
    assert!(
        matches!(&error, RequestError::Connect { .. }) && error.nothing_was_sent(),
        "{error:?}"
    );
    assert!(error.to_string().contains("refused"), "{error}");

    let (hanging_up, _) = server(b"", true).await;
    let error = get(&client, &hanging_up).await.unwrap_err();
    assert!(
        matches!(&error, RequestError::Closed { .. }) && !error.nothing_was_sent(),
        "{error:?}"
    );

    // Whether the request had begun or not.
    let (gone_at_once, _) = server_that_is_gone_at_once().await;
    for _ in 0..100 {
        let error = get(&client, &gone_at_once).await.unwrap_err();
        assert!(
            matches!(&error, RequestError::Closed { .. }) && error.may_pass(),
            "{error:?}"
        );
    }

    let (garbage, _) = server(b"220 mail.example ESMTP\r\n", true).await;
    let error = get(&client, &garbage).await.unwrap_err();
    assert!(matches!(&error, RequestError::Protocol { .. }), "{error:?}");

    let (silent, _) = server(b"", false).await;
    let error = get(&client, &silent).await.unwrap_err();
    assert!(
        matches!(&error, RequestError::ResponseTimeout { .. }) && !error.nothing_was_sent(),
        "{error:?}"
    );

    // A server that takes the connection and says nothing never ends the handshake.
    let error = get(&client, &silent.replace("http:", "https:"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RequestError::ConnectTimeout { .. }) && error.nothing_was_sent(),
        "{error:?}"
    );

    let (plain, _) = server(b"HTTP/1.1 400 Bad Request\r\n\r\n", true).await;
    let error = get(&client, &plain.replace("http:", "https:")).await.unwrap_err();
    assert!(
        matches!(
            &error,
            RequestError::Tls { .. } | RequestError::ConnectTimeout { .. }
        ),
        "{error:?}"
    );

    for url in ["/path", "ftp://127.0.0.1/"] {
        let error = get(&client, url).await.unwrap_err();
        assert!(
            matches!(&error, RequestError::Url { .. } | RequestError::Protocol { .. }),
            "{url}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_no_connection_error() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = client(|config| {
        config.resolver = Resolver::new(ResolverConfig {
            name_servers: Some(vec![silent.local_addr().unwrap()]),
            deadline: Duration::from_millis(200),
            ..ResolverConfig::default()
        });
    });
    let error = get(&client, "http://model.example/").await.unwrap_err();
    assert!(
        matches!(&error, RequestError::Resolve(ResolveError::Timeout { .. })),
        "{error:?}"
    );
    assert!(error.nothing_was_sent() && error.may_pass());
}

async fn tls_server() -> String {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let certificate = CertificateDer::from_pem_file(format!("{fixtures}/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{fixtures}/server.key.pem")).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut buffer = [0_u8; 4096];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(ANSWER).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    format!("https://localhost:{port}/")
}

/// Runs one test of this file in a process with this `SSL_CERT_FILE`.
fn run_alone(test: &str, certificates: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("SSL_CERT_FILE", certificates)
        .env_remove("SSL_CERT_DIR")
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_a_tls_error() {
    let error = get(&client(|_| {}), &tls_server().await).await.unwrap_err();
    assert!(
        matches!(&error, RequestError::Tls { .. }) && !error.may_pass(),
        "{error:?}"
    );
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn an_authority_in_ssl_cert_file_is_trusted() {
    if std::env::var_os(CHILD).is_none() {
        let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/authority.pem");
        return run_alone("an_authority_in_ssl_cert_file_is_trusted", authority);
    }
    assert_eq!(get(&client(|_| {}), &tls_server().await).await.unwrap(), "hello");
}

#[tokio::test]
async fn an_ssl_cert_file_that_holds_nothing_is_an_error_and_no_fallback() {
    if std::env::var_os(CHILD).is_none() {
        let test = "an_ssl_cert_file_that_holds_nothing_is_an_error_and_no_fallback";
        return run_alone(test, "/nonexistent/certificates.pem");
    }
    let error = get(&client(|_| {}), &tls_server().await).await.unwrap_err();
    assert!(matches!(&error, RequestError::Trust(_)), "{error:?}");
    assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
}

/// A proxy that answers every request head with `answer`; with none it opens the tunnels it is asked for. It notes the
/// first lines of what it is asked.
async fn proxy(answer: Option<&'static [u8]>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_as_proxy(stream, answer, Arc::clone(&log)));
        }
    });
    (address, asked)
}

async fn serve_as_proxy(mut stream: TcpStream, answer: Option<&'static [u8]>, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let line = String::from_utf8(head)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let target = line.split(' ').nth(1).unwrap().to_owned();
    log.lock().unwrap().push(line);
    if let Some(answer) = answer {
        stream.write_all(answer).await.unwrap();
    } else {
        let mut upstream = TcpStream::connect(target).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 Established\r\n\r\n")
            .await
            .unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
    }
}

fn through(http: &str, https: &str) -> Client {
    client(|config| config.proxies = Proxies::new(http, https, "").unwrap())
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_http_is_handed_over() {
    if std::env::var_os(CHILD).is_none() {
        let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/authority.pem");
        return run_alone("https_goes_through_a_tunnel_and_http_is_handed_over", authority);
    }
    let (tunnels, asked) = proxy(None).await;
    let url = tls_server().await;
    assert_eq!(get(&through("", &tunnels), &url).await.unwrap(), "hello");
    let authority = url.trim_start_matches("https://").trim_end_matches('/');
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT {authority} HTTP/1.1")]);

    let (forwards, asked) = proxy(Some(ANSWER)).await;
    let url = "http://name.invalid/a?b";
    assert_eq!(get(&through(&forwards, ""), url).await.unwrap(), "hello");
    assert_eq!(*asked.lock().unwrap(), [format!("GET {url} HTTP/1.1")]);
}

#[tokio::test]
async fn a_proxy_that_refuses_says_why() {
    let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 46\r\n\r\nhostler: name.invalid:443 is not allowed\x07\nhi\n\n";
    let (address, _) = proxy(Some(refusal)).await;
    let error = get(&through("", &address), "https://name.invalid/")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RequestError::ProxyRefused { status: 403, reason, .. }
            if reason == "hostler: name.invalid:443 is not allowed\nhi"),
        "{error:?}"
    );
    assert!(error.nothing_was_sent() && !error.may_pass());
    let (address, _) = proxy(Some(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")).await;
    let error = get(&through("", &address), "https://name.invalid/")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Bad Gateway"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_is_none_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (silent, _) = proxy(Some(b"")).await;
    let (garbage, _) = proxy(Some(b"220 mail.example ESMTP\r\n")).await;
    let (early, _) = proxy(Some(b"HTTP/1.1 200 OK\r\n\r\nsurprise")).await;
    for address in [closed.to_string(), silent, garbage, early] {
        let error = get(&through("", &address), "https://name.invalid/")
            .await
            .unwrap_err();
        assert!(
            matches!(&error, RequestError::Proxy { proxy, .. } if *proxy == address),
            "{error:?}"
        );
        assert!(error.nothing_was_sent());
    }
    let error = get(&through(&closed.to_string(), ""), "http://name.invalid/")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RequestError::Proxy { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
}
