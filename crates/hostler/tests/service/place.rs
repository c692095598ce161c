//! A data directory with a jailer that stays, and sandboxes in it. Everything is gone when it is dropped.

use domain::{InstanceId, Limits, SandboxId};
use guest_protocol::{Client, Exit, Framing, Payload, Spawn, Stdio};
use sandbox::{Backend as _, Created, Listeners, Spec, Workspace};
use sandbox_linux::{LinuxBackend, Options};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longer than anything here takes.
pub const DEADLINE: Duration = Duration::from_mins(1);

pub struct Place {
    pub data: TempDir,
    pub workspace: TempDir,
}

/// A sandbox as its server has it.
pub struct Sandbox {
    pub id: SandboxId,
    pub client: Client,
    pub listeners: Listeners,
}

impl Place {
    pub fn new() -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            workspace: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.data.path().canonicalize().unwrap()
    }

    pub fn options(&self) -> Options {
        options(&self.path())
    }

    pub async fn connect(&self) -> (LinuxBackend, Vec<SandboxId>) {
        let options = self.options();
        tokio::task::spawn_blocking(move || LinuxBackend::connect(&options))
            .await
            .unwrap()
            .unwrap()
    }

    pub fn spec(&self) -> Spec {
        Spec {
            id: SandboxId::random(),
            limits: Limits::default(),
            workspace: Some(Workspace {
                path: self.workspace.path().canonicalize().unwrap(),
                masked: Vec::new(),
            }),
            egress_ports: vec![5432],
            files_from: None,
            runtime: None,
        }
    }

    pub async fn create(&self, backend: &LinuxBackend) -> Sandbox {
        self.create_with(backend, &self.spec()).await
    }

    pub async fn create_with(&self, backend: &LinuxBackend, spec: &Spec) -> Sandbox {
        let created = backend.create(spec).await.unwrap();
        Sandbox::of(&spec.id, created).await
    }

    /// The process of the jailer that is there now.
    pub fn jailer(&self) -> Option<i32> {
        let data = self.path();
        let wanted = format!("jailer\0--data\0{}\0", data.display());
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.into_iter().find(|id: &i32| {
            let arguments = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let parent = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            // Not a child of it that has not run another program yet.
            let is_child_of_one = |text: &str| {
                text.lines()
                    .find_map(|line| line.strip_prefix("PPid:\t")?.parse::<i32>().ok())
                    .is_some_and(|parent| {
                        let arguments = std::fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
                        String::from_utf8_lossy(&arguments).contains(&wanted)
                    })
            };
            String::from_utf8_lossy(&arguments).contains(&wanted) && !is_child_of_one(&parent)
        })
    }

    /// The processes that watch over the jailer; there is one at most.
    pub fn watchers(&self) -> Vec<i32> {
        let wanted = format!("--data\0{}\0", self.path().display());
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let watches = |id: &i32| {
            let arguments = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            arguments.contains("--supervise") && arguments.contains(&wanted)
        };
        ids.filter(watches).collect()
    }

    /// Kills the jailer without a word.
    pub fn kill_jailer(&self) -> bool {
        let pid = self.jailer().and_then(rustix::process::Pid::from_raw);
        pid.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok())
    }

    /// Where the jailer writes down its sandboxes.
    pub fn records(&self) -> PathBuf {
        if is_root() {
            PathBuf::from("/run/hostler/records").join(self.instance())
        } else {
            self.path().join("records")
        }
    }

    /// What its cgroups and ranges are called by.
    pub fn instance(&self) -> String {
        let found = std::fs::metadata(self.path()).unwrap();
        format!("service_{:x}_{:x}", found.dev(), found.ino())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Where nobody listens there is nothing to stop.
        if self.path().join("jailer.sock").exists()
            && let Ok((backend, _)) = LinuxBackend::connect(&self.options())
        {
            backend.stop();
        }
    }
}

pub fn options(data: &Path) -> Options {
    Options {
        program: env!("CARGO_BIN_EXE_hostler").into(),
        data: data.to_owned(),
        instance: InstanceId::random(),
        shells: 1,
        disks: 1,
        limits: Limits::default(),
        starts_jailer: true,
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test does not run.
pub fn skip(test: &str, reason: &str) {
    println!("SKIP {test}: {reason}");
}

impl Sandbox {
    pub async fn of(id: &SandboxId, created: Created) -> Self {
        let client = Client::new(created.guest_socket);
        client.wait_ready(DEADLINE).await.unwrap();
        Self {
            id: id.clone(),
            client,
            listeners: created.listeners,
        }
    }

    /// Runs a shell script as the agent, to its end.
    pub async fn sh(&self, script: &str) -> String {
        let (text, exit) = tokio::time::timeout(DEADLINE, run(&self.client, &["/bin/sh", "-c", script]))
            .await
            .expect("the command takes too long");
        assert_eq!(exit, Exit::Code(0), "{script}: {text}");
        text
    }

    /// An agent that connects to each of the stream listeners is heard on it, and hears back.
    pub async fn proven(self) -> Self {
        let Listeners {
            gateway,
            proxy,
            dns_udp,
            dns_tcp,
            transparent,
        } = self.listeners;
        let ports = [("127.0.0.2", 80), ("127.0.0.3", 3128), ("127.0.0.53", 53)];
        let synthetic = [("198.18.0.9", 80), ("198.18.0.9", 443), ("198.18.0.9", 5432)];
        let mut kept = Vec::new();
        let streams = [gateway, proxy, dns_tcp].into_iter().chain(transparent);
        for (listener, (address, port)) in streams.zip(ports.into_iter().chain(synthetic)) {
            let program = format!(
                "import socket\ns = socket.create_connection(('{address}', {port}), 20)\ns.sendall(b'ping')\n\
                 assert s.recv(4) == b'pong'"
            );
            let words = ["/usr/bin/python3", "-c", &program];
            let (listener, outcome) = tokio::join!(answer(listener), run(&self.client, &words));
            assert_eq!(outcome.1, Exit::Code(0), "{address}:{port}: {}", outcome.0);
            kept.push(listener);
        }
        let mut kept = kept.into_iter();
        Self {
            listeners: Listeners {
                gateway: kept.next().unwrap(),
                proxy: kept.next().unwrap(),
                dns_udp,
                dns_tcp: kept.next().unwrap(),
                transparent: kept.collect(),
            },
            ..self
        }
    }
}

/// Accepts one connection, hears a word and says one.
async fn answer(listener: OwnedFd) -> OwnedFd {
    let duplicate = std::net::TcpListener::from(listener.try_clone().unwrap());
    let duplicate = tokio::net::TcpListener::from_std(duplicate).unwrap();
    let (mut stream, _) = tokio::time::timeout(DEADLINE, duplicate.accept())
        .await
        .expect("nobody connects")
        .unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap();
    stream.write_all(b"pong").await.unwrap();
    listener
}

/// Runs a program as the agent, to its end.
pub async fn run(client: &Client, argv: &[&str]) -> (String, Exit) {
    let id = SandboxId::random().to_string();
    client.spawn(&spawn(&id, argv, Framing::Chunks)).await.unwrap();
    let mut output = client.output(&id, 0, true).await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let record = output
            .next()
            .await
            .unwrap()
            .expect("the output ends with an exit");
        client.ack(&id, record.seq).await.unwrap();
        match record.payload {
            Payload::Output(data) => bytes.extend(data.into_bytes()),
            Payload::Exit(exit) => {
                client.remove(&id).await.unwrap();
                return (String::from_utf8_lossy(&bytes).into_owned(), exit);
            }
        }
    }
}

pub fn spawn(id: &str, argv: &[&str], framing: Framing) -> Spawn {
    let environment = [("PATH", "/usr/bin:/bin"), ("HOME", "/home/agent")];
    Spawn {
        id: id.to_owned(),
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        env: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        cwd: None,
        stdio: Stdio::Pipes,
        framing,
    }
}

/// Waits for a condition.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what} does not come to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
