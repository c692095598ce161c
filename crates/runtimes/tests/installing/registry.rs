//! A registry on loopback that answers as each test wants it to, byte by byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use runtimes::{Limits, NpmConfiguration, Platform, Registry, Surroundings};
use serde_json::json;
use sha2::{Digest as _, Sha512};
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const PACKAGE: &str = "@anthropic-ai/claude-code";
pub(crate) const ARCHIVE: &str = "/archives/native.tgz";

/// A request: how many came to this path before it, and its head in lower case.
pub(crate) struct Asked {
    pub(crate) nth: usize,
    pub(crate) head: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn range(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

pub(crate) enum Answer {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then nothing.
    Silent(Vec<u8>),
    /// These bytes, then the same piece for ever.
    Endless(Vec<u8>, Vec<u8>),
}

impl Answer {
    pub(crate) fn of(status: &str, headers: &str, body: &[u8]) -> Self {
        Self::Bytes(answer(status, headers, body.len(), body))
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::of("200 OK", "", value.to_string().as_bytes())
    }
}

/// A head that announces `length` bytes, and a body that may be shorter.
pub(crate) fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// What an honest server with ranges answers.
pub(crate) fn file(asked: &Asked, body: &[u8]) -> Answer {
    let headers = "etag: \"one\"\r\naccept-ranges: bytes\r\n";
    match asked.range() {
        Some(at) if at < body.len() => {
            let range = format!("content-range: bytes {at}-{}/{}\r\n", body.len() - 1, body.len());
            Answer::of("206 Partial Content", &format!("{headers}{range}"), &body[at..])
        }
        Some(_) => {
            let range = format!("content-range: bytes */{}\r\n", body.len());
            Answer::of("416 Range Not Satisfiable", &range, b"")
        }
        None => Answer::of("200 OK", headers, body),
    }
}

type Route = Box<dyn Fn(&Asked) -> Answer + Send + Sync>;

#[derive(Default)]
struct Routes {
    routes: HashMap<String, Arc<Route>>,
    asked: Vec<(String, String)>,
}

#[derive(Clone)]
pub(crate) struct Npm {
    pub(crate) base: String,
    state: Arc<Mutex<Routes>>,
}

impl Npm {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let npm = Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::default(),
        };
        let serving = npm.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let npm = serving.clone();
                tokio::spawn(async move { npm.serve(stream).await });
            }
        });
        npm
    }

    /// One that has these versions, all of them with `archive` as executable.
    pub(crate) async fn with(versions: &[&str], archive: &[u8]) -> Self {
        let npm = Self::start().await;
        npm.publish(versions, &integrity(archive));
        let archive = archive.to_vec();
        npm.route(ARCHIVE, move |asked| file(asked, &archive));
        npm
    }

    pub(crate) fn publish(&self, versions: &[&str], integrity: &str) {
        let native = format!("{PACKAGE}-{}", Platform::of_this_machine().unwrap());
        let tarball = format!("{}{ARCHIVE}", self.base);
        let describe = |entry: &dyn Fn(&str) -> serde_json::Value| {
            let entries: BTreeMap<_, _> = versions
                .iter()
                .map(|version| (*version, entry(version)))
                .collect();
            json!({"dist-tags": {"latest": versions.last()}, "versions": entries})
        };
        let wrapper = describe(
            &|version| json!({"dist": {"tarball": "http://127.0.0.1:1/x", "integrity": ""}, "optionalDependencies": {&native: version}}),
        );
        let natives = describe(&|_| json!({"dist": {"tarball": tarball, "integrity": integrity}}));
        self.route(&path(PACKAGE), move |_| Answer::json(&wrapper));
        self.route(&path(&native), move |_| Answer::json(&natives));
    }

    pub(crate) fn route(&self, path: &str, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
        let mut state = self.state.lock().unwrap();
        state.routes.insert(path.to_owned(), Arc::new(Box::new(answer)));
    }

    /// The heads of the requests for a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let of_path = state.asked.iter().filter(|(asked, _)| asked == path);
        of_path.map(|(_, head)| head.clone()).collect()
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let answer = {
            let mut state = self.state.lock().unwrap();
            let nth = state.asked.iter().filter(|(asked, _)| *asked == path).count();
            state.asked.push((path.clone(), head.clone()));
            let route = state.routes.get(&path).cloned();
            drop(state);
            match route {
                Some(route) => route(&Asked {
                    nth,
                    head: head.to_ascii_lowercase(),
                }),
                None => Answer::of("404 Not Found", "", b"not here"),
            }
        };
        match answer {
            Answer::Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
            Answer::Silent(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                std::future::pending::<()>().await;
            }
            Answer::Endless(bytes, piece) => {
                stream.write_all(&bytes).await.ok()?;
                loop {
                    stream.write_all(&piece).await.ok()?;
                }
            }
        }
        stream.shutdown().await.ok()
    }
}

/// As npm asks for a package.
pub(crate) fn path(package: &str) -> String {
    format!("/{}", package.replace('/', "%2f"))
}

pub(crate) fn integrity(bytes: &[u8]) -> String {
    format!("sha512-{}", STANDARD.encode(Sha512::digest(bytes)))
}

/// A machine whose npm configuration names a registry, with what else stands in its `.npmrc`.
pub(crate) async fn client(npm: &Npm, npmrc: &str, limits: Limits) -> Registry {
    let home: TempDir = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join(".npmrc"),
        format!("registry={}\n{npmrc}", npm.base),
    )
    .unwrap();
    let surroundings = Surroundings {
        variables: BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]),
        global_files: Vec::new(),
    };
    Registry::new(NpmConfiguration::read(&surroundings).await.unwrap(), limits)
}

pub(crate) fn brisk() -> Limits {
    Limits {
        silence: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// A script of this many bytes that no packing makes small, as an executable.
pub(crate) fn script(bytes: usize) -> Vec<u8> {
    let mut content = b"#!/bin/sh\nexit 0\n".to_vec();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend(state.to_le_bytes());
    }
    content
}

/// An archive of these files, in this order.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        // Paths that the library would refuse are written all the same.
        let name = header.as_ustar_mut().unwrap();
        name.name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    let mut packed = builder.into_inner().unwrap();
    packed.flush().unwrap();
    packed.finish().unwrap()
}

/// As the package for this platform is.
pub(crate) fn native(version: &str, executable: &[u8]) -> Vec<u8> {
    let manifest = json!({"name": "native", "version": version}).to_string();
    archive(&[
        ("package/claude", executable),
        ("package/package.json", manifest.as_bytes()),
    ])
}
