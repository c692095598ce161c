//! A guest to talk to, ended when the test ends.

use guest_protocol::{Client, Exit, Framing, OutputRecord, Payload, Spawn, Stdio, Stream};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as Inherit};
use std::time::Duration;
use tokio::time::timeout;

pub const DEADLINE: Duration = Duration::from_mins(1);

pub struct Alone {
    pub directory: tempfile::TempDir,
    pub child: Child,
    pub client: Client,
}

impl Alone {
    /// A guest as the test's own user, whose programs start in a directory that is there for them.
    pub async fn start() -> Self {
        Self::with(&[], &["0"]).await
    }

    /// With what stands before the guest's command line, and what follows the directory.
    pub async fn with(before: &[&str], after: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let work = directory.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let socket = directory.path().join("guest.socket");
        let guest = [env!("CARGO_BIN_EXE_guest-alone")];
        let mut words = before.iter().chain(&guest);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args([&socket, &work])
            .args(after)
            .stdin(Inherit::null())
            .spawn()
            .unwrap();
        let client = Client::new(&socket);
        client.wait_ready(DEADLINE).await.unwrap();
        Self {
            directory,
            child,
            client,
        }
    }

    pub fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    pub fn path(&self, name: &str) -> String {
        self.work().join(name).to_str().unwrap().to_owned()
    }

    /// Another client, as a host that comes back has one.
    pub fn again(&self) -> Client {
        Client::new(self.directory.path().join("guest.socket"))
    }

    /// A number of `/proc/PID/status`, in KiB.
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_matches([':', ' ', '\t'])
            .strip_suffix(" kB")
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Runs a shell script to its end; its standard output and its exit.
    pub async fn shell(&self, id: &str, script: &str) -> (String, Exit) {
        self.client.spawn(&shell(id, script)).await.unwrap();
        let records = records(&self.client, id, 0).await;
        (text(&records, Stream::Stdout), exit(&records))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn program(id: &str, argv: &[&str]) -> Spawn {
    Spawn {
        id: id.to_owned(),
        argv: argv.iter().map(ToString::to_string).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: None,
        stdio: Stdio::Pipes,
        framing: Framing::Chunks,
    }
}

pub fn shell(id: &str, script: &str) -> Spawn {
    program(id, &["/bin/sh", "-c", script])
}

/// What comes after `after`, up to the exit.
pub async fn records(client: &Client, id: &str, after: u64) -> Vec<OutputRecord> {
    let mut stream = client.output(id, after, true).await.unwrap();
    let mut records = Vec::new();
    let all = async {
        while let Some(record) = stream.next().await.unwrap() {
            records.push(record);
        }
    };
    timeout(DEADLINE, all).await.expect("the process ends");
    records
}

/// Reads until the text of the output contains `wanted`.
pub async fn read_until(client: &Client, id: &str, wanted: &str) -> String {
    let mut stream = client.output(id, 0, true).await.unwrap();
    let mut found = String::new();
    let all = async {
        while !found.contains(wanted) {
            match stream.next().await.unwrap().map(|record| record.payload) {
                Some(Payload::Output(data)) => found += &String::from_utf8_lossy(&data.into_bytes()),
                end => panic!("{end:?} before {wanted:?}: {found:?}"),
            }
        }
    };
    timeout(DEADLINE, all).await.expect("the output comes");
    found
}

pub fn bytes(records: &[OutputRecord], wanted: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        match &record.payload {
            Payload::Output(data) if data.stream == wanted => bytes.extend(data.clone().into_bytes()),
            _ => {}
        }
    }
    bytes
}

pub fn text(records: &[OutputRecord], wanted: Stream) -> String {
    String::from_utf8(bytes(records, wanted)).unwrap()
}

pub fn exit(records: &[OutputRecord]) -> Exit {
    match records.last().map(|record| &record.payload) {
        Some(Payload::Exit(exit)) => *exit,
        last => panic!("the last record is {last:?}"),
    }
}

/// Waits for a condition that nothing announces.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(DEADLINE, poll).await.is_ok(), "{what}");
}

pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
