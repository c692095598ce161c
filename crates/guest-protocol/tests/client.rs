//! The client against guests that answer well, badly and not at all, each written out byte by byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where it fails"
)]

use bytes::Bytes;
use guest_protocol::{Client, ClientError, ErrorKind, Exit, MAX_DATA_BYTES, Payload};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// What the scripted guest does after it has read a request.
enum Reply {
    Keep(Vec<u8>),
    Close(Vec<u8>),
    /// The head, then this again and again for as long as the client reads.
    Endless(Vec<u8>, Vec<u8>),
    Never,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<(String, Vec<u8>)>,
}

struct Guest {
    directory: tempfile::TempDir,
    seen: Arc<Mutex<Seen>>,
}

impl Guest {
    fn new(script: impl Fn(usize) -> Reply + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("guest")).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        tokio::spawn(serve(listener, script, Arc::clone(&seen)));
        Self { directory, seen }
    }

    fn always(reply: impl Fn() -> Reply + Send + 'static) -> Self {
        Self::new(move |_| reply())
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("guest")
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    fn request(&self, number: usize) -> (String, Vec<u8>) {
        self.seen.lock().unwrap().requests[number].clone()
    }
}

async fn serve(listener: UnixListener, script: impl Fn(usize) -> Reply, seen: Arc<Mutex<Seen>>) {
    let mut number = 0;
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        seen.lock().unwrap().connections += 1;
        while let Some(request) = read_request(&mut stream).await {
            seen.lock().unwrap().requests.push(request);
            number += 1;
            match script(number) {
                Reply::Keep(bytes) => stream.write_all(&bytes).await.unwrap(),
                Reply::Close(bytes) => {
                    stream.write_all(&bytes).await.unwrap();
                    break;
                }
                Reply::Endless(head, again) => {
                    let _ = stream.write_all(&head).await;
                    while stream.write_all(&again).await.is_ok() {}
                    break;
                }
                Reply::Never => {
                    let _ = stream.read(&mut [0]).await;
                    break;
                }
            }
        }
    }
}

async fn read_request(stream: &mut UnixStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((head.lines().next().unwrap_or_default().to_owned(), body))
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// The pieces as chunks; without the last, empty chunk the answer is cut off.
fn chunks(pieces: &[&str], ended: bool) -> Vec<u8> {
    let mut bytes = CHUNKED.to_owned();
    for piece in pieces {
        write!(bytes, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
    }
    if ended {
        bytes += "0\r\n\r\n";
    }
    bytes.into_bytes()
}

const HEALTH: &str = r#"{"version":1,"processes":2}"#;
const FIRST: &str = "{\"seq\":1,\"output\":{\"stream\":\"stdout\",\"text\":\"a\"}}\n";
const SECOND: &str = "{\"seq\":2,\"output\":{\"stream\":\"stderr\",\"base64\":\"/w==\"}}\n";
const EXIT: &str = "{\"seq\":3,\"exit\":{\"code\":4}}\n";

/// The error that reading the output ends with.
async fn output_error(follow: bool, reply: impl Fn() -> Reply + Send + 'static) -> ClientError {
    let guest = Guest::always(reply);
    let mut stream = guest.client().output("p", 0, follow).await.unwrap();
    loop {
        match stream.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends well"),
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn calls_share_one_connection_until_it_rests() {
    let guest = Guest::always(|| Reply::Keep(answer("200 OK", HEALTH)));
    let client = guest.client();
    for _ in 0..3 {
        assert_eq!(client.health().await.unwrap().processes, 2);
    }
    assert_eq!(guest.seen.lock().unwrap().connections, 1);
    client.rest();
    client.rest();
    client.health().await.unwrap();
    assert_eq!(guest.seen.lock().unwrap().connections, 2);
}

#[tokio::test]
async fn a_connection_that_the_guest_closed_is_replaced() {
    let guest = Guest::always(|| Reply::Close(answer("200 OK", HEALTH)));
    let client = guest.client();
    for _ in 0..3 {
        client.health().await.unwrap();
        // The scripted guest accepts again only after it has closed: this connects behind that.
        drop(UnixStream::connect(guest.socket()).await.unwrap());
    }
    assert_eq!(guest.seen.lock().unwrap().requests.len(), 3);
}

#[tokio::test]
async fn a_refusal_keeps_its_kind_and_loses_its_control_characters() {
    let body = r#"{"error":{"kind":"no_space","message":"full\u001b[2J"}}"#;
    let guest = Guest::always(move || Reply::Keep(answer("507 Full", body)));
    let error = guest.client().health().await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::NoSpace));
    assert_eq!(error.to_string(), "health: full\u{fffd}[2J");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn answers_that_are_not_the_protocol_are_errors() {
    let garbage: [&[u8]; 5] = [
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nxyz",
        b"HTTP/1.1 500 No\r\ncontent-length: 3\r\n\r\nxyz",
        b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{}",
        b"",
    ];
    for bytes in garbage {
        let guest = Guest::always(move || Reply::Close(bytes.to_vec()));
        let error = guest.client().health().await.unwrap_err();
        let expected = matches!(
            error,
            ClientError::Connection { .. } | ClientError::Malformed { .. } | ClientError::Truncated { .. }
        );
        assert!(expected, "{error:?}");
    }
}

#[tokio::test]
async fn endless_answers_end() {
    let guest = Guest::always(|| Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(1000)));
    assert!(matches!(
        guest.client().health().await,
        Err(ClientError::Connection { .. })
    ));

    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let guest = Guest::always(|| Reply::Endless(head.to_vec(), vec![b' '; 1 << 16]));
    assert!(matches!(
        guest.client().health().await,
        Err(ClientError::TooLarge { limit: 0x10_0000, .. })
    ));

    let error = output_error(true, || Reply::Endless(head.to_vec(), vec![b'x'; 1 << 16])).await;
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_guest_that_never_answers_meets_the_deadline() {
    let guest = Guest::always(|| Reply::Never);
    let error = guest
        .client()
        .wait_ready(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Deadline { .. }), "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn waiting_for_a_guest_outlasts_a_missing_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("guest");
    let client = Client::new(&socket);
    let error = client.wait_ready(Duration::from_millis(5)).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Connect { .. } | ClientError::Deadline { .. }),
        "{error:?}"
    );

    let late = async {
        tokio::task::yield_now().await;
        let listener = UnixListener::bind(&socket).unwrap();
        serve(
            listener,
            |_| Reply::Keep(answer("200 OK", HEALTH)),
            Arc::default(),
        )
        .await;
    };
    tokio::select! {
        health = client.wait_ready(Duration::from_secs(5)) => assert_eq!(health.unwrap().version, 1),
        () = late => unreachable!("it serves for ever"),
    }
}

#[tokio::test]
async fn a_guest_of_another_version_is_not_driven() {
    let guest = Guest::always(|| Reply::Keep(answer("200 OK", r#"{"version":4294967295,"processes":0}"#)));
    let error = guest
        .client()
        .wait_ready(Duration::from_secs(5))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Version { guest: u32::MAX, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn output_comes_record_by_record_and_ends_with_the_exit() {
    let text = [FIRST, SECOND, EXIT].concat();
    let (left, right) = text.split_at(FIRST.len() + 9);
    let bytes = chunks(&[left, right], false);
    let guest = Guest::always(move || Reply::Keep(bytes.clone()));
    let mut stream = guest.client().output("a b", 0, true).await.unwrap();
    let mut payloads = Vec::new();
    while let Some(record) = stream.next().await.unwrap() {
        payloads.push(record.payload);
    }
    assert_eq!(
        guest.request(0).0,
        "get /v1/processes/a%20b/output?after=0&follow=true http/1.1"
    );
    assert_eq!(payloads.len(), 3);
    let Payload::Output(data) = payloads[1].clone() else {
        panic!("the second record is output")
    };
    assert_eq!(data.into_bytes(), [0xff]);
    assert_eq!(payloads[2], Payload::Exit(Exit::Code(4)));
}

#[tokio::test]
async fn an_output_stream_that_breaks_its_promise_is_an_error() {
    let gap = [FIRST, EXIT].concat();
    let error = output_error(true, move || Reply::Keep(chunks(&[&gap], false))).await;
    assert!(
        matches!(
            error,
            ClientError::Gap {
                expected: 2,
                found: 3
            }
        ),
        "{error:?}"
    );

    let error = output_error(true, || Reply::Keep(chunks(&[FIRST], true))).await;
    assert!(
        matches!(error, ClientError::Truncated { .. }),
        "no exit: {error:?}"
    );

    let error = output_error(false, || Reply::Keep(chunks(&[&FIRST[..20]], true))).await;
    assert!(
        matches!(error, ClientError::Truncated { .. }),
        "half a line: {error:?}"
    );

    let error = output_error(false, || Reply::Close(chunks(&[FIRST], false))).await;
    assert!(error.is_retryable(), "cut off: {error:?}");

    for line in [
        "[[[[\n",
        "{\"seq\":1}\n",
        "{\"seq\":1,\"output\":{\"stream\":\"stdout\"}}\n",
        "\n",
    ] {
        let error = output_error(true, move || Reply::Keep(chunks(&[line], false))).await;
        assert!(
            matches!(error, ClientError::Malformed { .. }),
            "{line}: {error:?}"
        );
    }

    let nested = "[".repeat(100_000) + "\n";
    let error = output_error(true, move || Reply::Keep(chunks(&[&nested], false))).await;
    assert!(matches!(error, ClientError::Malformed { .. }), "{error:?}");

    let text = "x".repeat(MAX_DATA_BYTES + 1);
    let long = format!("{{\"seq\":1,\"output\":{{\"stream\":\"stdout\",\"text\":\"{text}\"}}}}\n");
    let error = output_error(true, move || Reply::Keep(chunks(&[&long], false))).await;
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_read_of_output_that_was_given_up_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("guest")).unwrap();
    let client = Client::new(directory.path().join("guest"));
    let (opened, mut peer) = tokio::join!(client.output("p", 0, true), async {
        let (mut peer, _) = listener.accept().await.unwrap();
        read_request(&mut peer).await.unwrap();
        peer.write_all(&chunks(&[&FIRST[..10]], false)).await.unwrap();
        peer
    });
    let mut stream = opened.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(20), stream.next())
            .await
            .is_err()
    );
    let rest = &FIRST[10..];
    peer.write_all(format!("{:x}\r\n{rest}\r\n", rest.len()).as_bytes())
        .await
        .unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().seq, 1);
}

#[tokio::test]
async fn a_file_is_never_longer_than_what_was_asked_for() {
    let guest = Guest::always(|| Reply::Keep(answer("200 OK", "four")));
    let client = guest.client();
    assert_eq!(client.read_file("/a", 0, 4).await.unwrap(), "four");
    assert!(matches!(
        client.read_file("/a", 0, 3).await,
        Err(ClientError::TooLarge { limit: 3, .. })
    ));
    let mut copy = Vec::new();
    assert_eq!(client.download("/a", &mut copy, 4).await.unwrap(), 4);
    assert_eq!(copy, b"four");
    assert!(matches!(
        client.download("/a", &mut copy, 3).await,
        Err(ClientError::TooLarge { limit: 3, .. })
    ));
}

#[tokio::test]
async fn a_download_that_is_cut_off_is_an_error() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour";
    let guest = Guest::always(|| Reply::Close(head.to_vec()));
    let error = guest
        .client()
        .download("/a", &mut Vec::new(), 100)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Truncated { .. } | ClientError::Connection { .. }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_path_of_any_bytes_reaches_the_guest() {
    let guest = Guest::always(|| Reply::Keep(answer("200 OK", "{}")));
    let path: &[u8] = b"/w/\xff&mode=7777 #%";
    guest
        .client()
        .write_file(path, 0o640, Bytes::from_static(b"data"))
        .await
        .unwrap();
    let (line, body) = guest.request(0);
    assert_eq!(
        line,
        "put /v1/files?path=%2fw%2f%ff%26mode%3d7777%20%23%25&mode=0640 http/1.1"
    );
    assert_eq!(body, b"data");
}

#[tokio::test]
async fn input_that_was_not_taken_is_an_error_to_try_again() {
    let guest = Guest::new(|number| {
        let next = if number == 1 { 3 } else { 4 };
        Reply::Keep(answer("200 OK", &format!("{{\"next_input_seq\":{next}}}")))
    });
    let client = guest.client();
    let error = client
        .input("p", 3, Bytes::from_static(b"x"), false)
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let ack = client
        .input("p", 3, Bytes::from_static(b"x"), true)
        .await
        .unwrap();
    assert_eq!(ack.next_input_seq, 4);
    assert_eq!(
        guest.request(1).0,
        "post /v1/processes/p/input?seq=3&eof=true http/1.1"
    );
}

#[tokio::test]
async fn changes_are_checked_one_by_one() {
    let good = "{\"path\":\"a/b\",\"kind\":\"removed\"}\n{\"path_base64\":\"/w==\",\"kind\":\"special\"}\n";
    let guest = Guest::always(move || Reply::Keep(chunks(&[good], true)));
    let mut stream = guest.client().changes().await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().path.as_deref(), Some("a/b"));
    assert_eq!(
        stream.next().await.unwrap().unwrap().path_bytes().unwrap(),
        [0xff]
    );
    assert!(stream.next().await.unwrap().is_none());

    let refused = "{\"error\":{\"kind\":\"too_large\",\"message\":\"too many\"}}\n";
    let guest = Guest::always(move || Reply::Keep(chunks(&[refused], true)));
    let error = guest.client().changes().await.unwrap().next().await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::TooLarge));

    for path in ["../a", "/etc/passwd", "a/../../b", ""] {
        let line = format!("{{\"path\":\"{path}\",\"kind\":\"removed\"}}\n");
        let guest = Guest::always(move || Reply::Keep(chunks(&[&line], true)));
        let error = guest.client().changes().await.unwrap().next().await.unwrap_err();
        assert!(
            matches!(error, ClientError::Malformed { .. }),
            "{path}: {error:?}"
        );
    }
}
