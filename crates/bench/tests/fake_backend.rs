//! The sandbox bench against a backend that plays a guest: what it makes it ends, also where commands fail.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use async_trait::async_trait;
use bench::{Contender, Options};
use domain::SandboxId;
use sandbox::{Backend, ChangeReader, Created, Error, Listeners, Observation, Report, Spec};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// Sandboxes that are a socket with a scripted guest behind it.
struct Fake {
    directory: tempfile::TempDir,
    exit: &'static str,
    /// Creates that succeed.
    room: usize,
    created: AtomicUsize,
    running: Mutex<BTreeSet<SandboxId>>,
    files: Mutex<BTreeSet<SandboxId>>,
}

impl Fake {
    fn new(exit: &'static str, room: usize) -> Arc<Self> {
        Arc::new(Self {
            directory: tempfile::tempdir().unwrap(),
            exit,
            room,
            created: AtomicUsize::new(0),
            running: Mutex::default(),
            files: Mutex::default(),
        })
    }

    fn nothing_is_left(&self) -> bool {
        self.running.lock().unwrap().is_empty() && self.files.lock().unwrap().is_empty()
    }

    fn socket(&self, id: &SandboxId) -> PathBuf {
        self.directory.path().join(id.as_str())
    }
}

#[async_trait]
impl Backend for Fake {
    async fn report(&self) -> Result<Report, Error> {
        Ok(Report::default())
    }

    async fn create(&self, spec: &Spec) -> Result<Created, Error> {
        if self.created.fetch_add(1, Ordering::SeqCst) >= self.room {
            return Err(Error::Unsupported {
                missing: "room".to_owned(),
            });
        }
        let guest_socket = self.socket(&spec.id);
        let listener = UnixListener::bind(&guest_socket).unwrap();
        tokio::spawn(serve(listener, self.exit));
        self.running.lock().unwrap().insert(spec.id.clone());
        self.files.lock().unwrap().insert(spec.id.clone());
        let [gateway, proxy, dns_udp, dns_tcp] = [(); 4].map(|()| null());
        let listeners = Listeners {
            gateway,
            proxy,
            dns_udp,
            dns_tcp,
            transparent: Vec::new(),
        };
        Ok(Created {
            guest_socket,
            listeners,
        })
    }

    async fn observe(&self, _: &SandboxId) -> Result<Observation, Error> {
        Ok(Observation::default())
    }

    async fn freeze(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn thaw(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn destroy(&self, id: &SandboxId) -> Result<(), Error> {
        self.running.lock().unwrap().remove(id);
        Ok(())
    }

    async fn read_changes(&self, id: &SandboxId) -> Result<ChangeReader, Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn remove_files(&self, id: &SandboxId) -> Result<(), Error> {
        self.files.lock().unwrap().remove(id);
        Ok(())
    }

    async fn attach(&self, id: &SandboxId) -> Result<Created, Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn survivors(&self) -> Result<Vec<SandboxId>, Error> {
        Ok(Vec::new())
    }
}

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

async fn serve(listener: UnixListener, exit: &'static str) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, exit));
    }
}

/// `POST /v1/processes` starts a process; every `GET` is for its output, which is its exit.
async fn answer(mut stream: UnixStream, exit: &'static str) {
    let mut request = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&chunk[..length]),
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let body = if text.starts_with("POST") && text.ends_with('}') {
            r#"{"id":"bench","pid":2,"state":"running","next_seq":1,"next_input_seq":1}"#.to_owned()
        } else if text.starts_with("GET") && text.ends_with("\r\n\r\n") {
            format!("{{\"seq\":1,\"exit\":{exit}}}\n")
        } else {
            continue;
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .is_err()
        {
            return;
        }
        request.clear();
    }
}

fn options(density: usize) -> Options {
    Options {
        iterations: 3,
        warm_up: 1,
        density,
        settle: Duration::ZERO,
        json: None,
    }
}

#[tokio::test]
async fn every_sandbox_that_is_made_is_ended() {
    let (cold, warm) = (
        Fake::new(r#"{"code":0}"#, usize::MAX),
        Fake::new(r#"{"code":0}"#, usize::MAX),
    );
    let contenders = [Contender::cold(cold.clone()), Contender::warm(warm.clone())];
    let text = bench::sandbox(&contenders, &options(10)).await.render();
    for wanted in [
        "hostler, cold: to first command",
        "hostler, from the pool: until destroyed",
        "beside 10 idle",
    ] {
        assert!(text.contains(wanted), "{wanted:?} in\n{text}");
    }
    assert!(cold.nothing_is_left() && warm.nothing_is_left(), "{text}");
    assert_eq!(warm.created.load(Ordering::SeqCst), 4, "warm-up and iterations");
}

#[tokio::test]
async fn a_command_that_fails_is_not_measured_and_its_sandbox_is_ended() {
    let backend = Fake::new(r#"{"signal":9}"#, usize::MAX);
    let text = bench::sandbox(&[Contender::cold(backend.clone())], &options(1))
        .await
        .render();
    assert!(
        text.contains("not measured: hostler, cold: /bin/true failed: Signal(9)"),
        "{text}"
    );
    assert!(backend.nothing_is_left(), "{text}");
}

#[tokio::test]
async fn a_machine_that_is_full_holds_what_it_can() {
    let backend = Fake::new(r#"{"code":0}"#, 4 + 7);
    let text = bench::sandbox(&[Contender::cold(backend.clone())], &options(10))
        .await
        .render();
    let held = text
        .lines()
        .find(|line| line.contains("sandbox, held at once"))
        .unwrap();
    assert!(held.trim_end().ends_with(" 7"), "{text}");
    assert!(
        text.contains("this machine cannot hold a sandbox: room"),
        "{text}"
    );
    assert!(backend.nothing_is_left(), "{text}");
}
