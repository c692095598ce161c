//! A toolbox on a directory of its own, and the waiting for conditions that its tests share.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_tools::{Outcome, Settings, Toolbox};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) struct Fixture {
    root: tempfile::TempDir,
    pub(crate) toolbox: Toolbox,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("work")).unwrap();
        let toolbox = Toolbox::new(settings(root.path()));
        Self { root, toolbox }
    }

    pub(crate) fn with(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = settings(self.root.path());
        change(&mut settings);
        self.toolbox = Toolbox::new(settings);
    }

    /// The working directory, without symlinks.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap().join("work")
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.root.path().join("results")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn content(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) async fn call(&self, name: &str, input: Value) -> Outcome {
        let call = self.toolbox.call(name, input, CancellationToken::new());
        tokio::time::timeout(Duration::from_mins(1), call).await.unwrap()
    }

    pub(crate) async fn bash(&self, command: &str) -> Outcome {
        self.bash_with(json!({"command": command})).await
    }

    pub(crate) async fn bash_with(&self, input: Value) -> Outcome {
        self.call("Bash", input).await
    }

    pub(crate) async fn bash_until(&self, command: &str, cancel: CancellationToken) -> Outcome {
        let call = self.toolbox.call("Bash", json!({"command": command}), cancel);
        tokio::time::timeout(Duration::from_mins(1), call).await.unwrap()
    }

    pub(crate) async fn end(self) {
        self.toolbox.shutdown().await;
    }
}

fn settings(root: &Path) -> Settings {
    Settings::new(root.canonicalize().unwrap().join("work"), root.join("results"))
}

/// What the model sees.
pub(crate) fn text(outcome: &Outcome) -> &str {
    outcome.content[0]["text"].as_str().unwrap()
}

/// Waits for a condition, with a deadline.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the condition did not come true"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Living processes whose arguments are exactly these words.
pub(crate) fn running(words: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| {
            String::from_utf8_lossy(line)
                .trim_end_matches('\0')
                .replace('\0', " ")
                == words
        })
        .count()
}

pub(crate) fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
