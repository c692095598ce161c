//! Pages from servers on loopback: what honest ones hold, and what hostile ones do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use flate2::Compression;
use flate2::write::GzEncoder;
use outbound::Proxies;
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use web_fetch::{Config, FetchError, Fetched, Fetcher, Limits, Page, Target};

/// What a path is answered with.
#[derive(Clone)]
enum Answer {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then the same piece for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// These bytes, then nothing.
    Silent(Vec<u8>),
}

struct Site {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn site(pages: Vec<(&str, Answer)>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let pages: HashMap<String, Answer> = pages
        .into_iter()
        .map(|(path, answer)| (path.to_owned(), answer))
        .collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (pages, log) = (Arc::new(pages), Arc::clone(&asked));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, Arc::clone(&pages), Arc::clone(&log)));
        }
    });
    Site { base, asked }
}

async fn serve(
    mut stream: TcpStream,
    pages: Arc<HashMap<String, Answer>>,
    log: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    log.lock().unwrap().push(head);
    let missing = Answer::Bytes(answer(
        "404 Not Found",
        &["content-type: text/html"],
        b"<h1>Not here</h1>",
    ));
    match pages.get(&path).cloned().unwrap_or(missing) {
        Answer::Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
        Answer::Endless(bytes, piece) => {
            stream.write_all(&bytes).await.ok()?;
            loop {
                stream.write_all(&piece).await.ok()?;
            }
        }
        Answer::Silent(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            let _ = stream.read_u8().await;
        }
    }
    Some(())
}

fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

fn page(content_type: &str, body: &[u8]) -> Answer {
    Answer::Bytes(answer(
        "200 OK",
        &[&format!("content-type: {content_type}")],
        body,
    ))
}

fn moved(to: &str) -> Answer {
    Answer::Bytes(answer("302 Found", &[&format!("location: {to}")], b""))
}

fn fetcher(change: impl FnOnce(&mut Limits)) -> Fetcher {
    let mut limits = Limits::default();
    change(&mut limits);
    Fetcher::new(Config {
        proxies: Proxies::default(),
        user_agent: "test".to_owned(),
        limits,
    })
}

async fn fetch(fetcher: &Fetcher, url: &str) -> Result<Fetched, FetchError> {
    let target = Target::parse(url).unwrap();
    tokio::time::timeout(Duration::from_secs(30), fetcher.fetch(&target))
        .await
        .expect("the fetcher has limits of its own")
}

async fn read(url: &str) -> Arc<Page> {
    match fetch(&fetcher(|_| {}), url).await.unwrap() {
        Fetched::Page(page) => page,
        elsewhere @ Fetched::Elsewhere { .. } => panic!("{elsewhere:?}"),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_page_comes_as_markdown_once_and_then_from_memory() {
    let html = b"<title>T</title><p>caf\xe9 <a href=/x>there</a>\0</p>";
    let site = site(vec![("/a", page("text/html; charset=\"iso-8859-1\"", html))]).await;
    let fetcher = fetcher(|_| {});
    for _ in 0..2 {
        let Fetched::Page(page) = fetch(&fetcher, &format!("{}/a#part", site.base)).await.unwrap() else {
            panic!("a page")
        };
        assert_eq!(page.text, format!("# T\n\ncaf\u{e9} [there]({}/x)", site.base));
        assert_eq!(
            (page.status, page.status_text.as_str(), page.bytes),
            (200, "OK", html.len())
        );
        assert!(!page.is_cut);
    }
    let asked = site.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "the second comes from memory");
    assert!(asked[0].contains("user-agent: test") && asked[0].contains("accept-encoding: gzip"));
}

#[tokio::test]
async fn redirects_are_followed_on_their_host_and_told_of_elsewhere() {
    let pages = vec![
        ("/a", moved("/b")),
        ("/b", moved("c?d")),
        ("/c?d", page("text/plain", b"here")),
        ("/loop", moved("/loop")),
        ("/away", moved("https://elsewhere.example/x")),
        ("/port", moved("http://127.0.0.1:1/")),
        ("/file", moved("file:///etc/passwd")),
        ("/nowhere", Answer::Bytes(answer("304 Not Modified", &[], b""))),
    ];
    let site = site(pages).await;
    let found = read(&format!("{}/a", site.base)).await;
    assert_eq!(
        (found.text.as_str(), found.url.clone()),
        ("here", format!("{}/c?d", site.base))
    );
    let outcome = |path: &str| {
        let url = format!("{}{path}", site.base);
        async move { fetch(&fetcher(|_| {}), &url).await }
    };
    assert!(matches!(
        outcome("/loop").await,
        Err(FetchError::TooManyRedirects)
    ));
    assert!(matches!(outcome("/file").await, Err(FetchError::Redirect(_))));
    assert!(matches!(
        outcome("/nowhere").await,
        Err(FetchError::Status { status: 304, .. })
    ));
    for (path, expected) in [
        ("/away", "https://elsewhere.example/x"),
        ("/port", "http://127.0.0.1:1/"),
    ] {
        let Ok(Fetched::Elsewhere { status: 302, url, .. }) = outcome(path).await else {
            panic!("{path} is elsewhere")
        };
        assert_eq!(url, expected);
    }
}

#[tokio::test]
async fn what_is_no_text_or_no_page_is_refused_in_words() {
    let packed = |encoding: &str, body: &[u8]| {
        let encoding = format!("content-encoding: {encoding}");
        Answer::Bytes(answer("200 OK", &["content-type: text/plain", &encoding], body))
    };
    let site = site(vec![
        ("/png", page("image/png", b"\x89PNG")),
        ("/raw", Answer::Bytes(answer("200 OK", &[], b"\x7fELF\0"))),
        ("/br", packed("br", b"x")),
        ("/bad", packed("gzip", b"not gzip")),
        (
            "/gone",
            Answer::Bytes(answer(
                "410 Gone",
                &["content-type: text/html"],
                b"<p>It <b>left</b></p>",
            )),
        ),
        (
            "/refused",
            Answer::Bytes(answer(
                "403 Forbidden",
                &["content-type: text/plain"],
                b"hostler: not allowed\nhint\n",
            )),
        ),
    ])
    .await;
    for (path, expected) in [
        ("/png", "it is image/png and no text"),
        ("/raw", "it is binary data and no text"),
        ("/br", "packed as br"),
        ("/bad", "cannot be unpacked"),
        ("/gone", "the server answered 410 Gone: It **left**"),
        (
            "/refused",
            "the server answered 403 Forbidden: hostler: not allowed\nhint",
        ),
        ("/missing", "the server answered 404 Not Found: # Not here"),
    ] {
        let error = fetch(&fetcher(|_| {}), &format!("{}{path}", site.base))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{path}: {error}");
    }
}

#[tokio::test]
async fn bodies_that_do_not_end_or_grow_are_cut_off() {
    let chunked =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let piece = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
    let bomb = gzip(&vec![b'y'; 40 << 20]);
    let head = answer(
        "200 OK",
        &["content-type: text/plain", "content-encoding: gzip"],
        &bomb,
    );
    let site = site(vec![
        ("/endless", Answer::Endless(chunked, piece)),
        ("/bomb", Answer::Bytes(head)),
        ("/large", page("text/html", &b"<p>word</p>".repeat(400_000))),
    ])
    .await;
    for (path, first) in [("/endless", 'x'), ("/bomb", 'y'), ("/large", 'w')] {
        let page = read(&format!("{}{path}", site.base)).await;
        assert!(page.is_cut && page.text.starts_with(first), "{path}");
        assert!(
            page.text.len() <= Limits::default().text_bytes,
            "{path}: {}",
            page.text.len()
        );
    }
}

#[tokio::test]
async fn connections_that_lie_or_stall_are_errors() {
    let short = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000\r\n\r\nshort".to_vec();
    let site = site(vec![
        ("/short", Answer::Bytes(short.clone())),
        ("/stall", Answer::Silent(short)),
        ("/mute", Answer::Silent(Vec::new())),
        (
            "/long",
            Answer::Bytes(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello and more"
                    .to_vec(),
            ),
        ),
        (
            "/head",
            Answer::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 4096]),
        ),
    ])
    .await;
    let url = |path: &str| format!("{}{path}", site.base);
    let hasty = fetcher(|limits| limits.time = Duration::from_millis(300));
    assert!(matches!(
        fetch(&hasty, &url("/short")).await,
        Err(FetchError::Broken { .. })
    ));
    for path in ["/stall", "/mute"] {
        assert!(
            matches!(fetch(&hasty, &url(path)).await, Err(FetchError::TimedOut { .. })),
            "{path}"
        );
    }
    assert!(matches!(
        fetch(&fetcher(|_| {}), &url("/head")).await,
        Err(FetchError::Request(_))
    ));
    assert_eq!(read(&url("/long")).await.text, "hello");
}

#[tokio::test]
async fn the_proxy_s_reason_is_passed_on() {
    let refusal = answer("403 Forbidden", &[], b"hostler: example.com:443 is not allowed\nTo allow it, start the session with --allow-host example.com\n");
    let proxy = site(vec![("example.com:443", Answer::Bytes(refusal))]).await;
    let fetcher = Fetcher::new(Config {
        proxies: Proxies::new("", &proxy.base, "").unwrap(),
        user_agent: "test".to_owned(),
        limits: Limits::default(),
    });
    // The plain URL is upgraded, so it is the tunnel that is refused.
    let error = fetch(&fetcher, "http://example.com/a")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("--allow-host example.com"), "{error}");
    assert!(proxy.asked.lock().unwrap()[0].starts_with("CONNECT example.com:443 "));
}
