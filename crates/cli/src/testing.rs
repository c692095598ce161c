//! A workspace and a report of changes, for tests of what is shown and applied.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use async_trait::async_trait;
use change_set::{RelativePath, Source, SourceError, View};
use domain::SessionId;
use guest_protocol::{Change, ChangeKind};
use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

#[derive(Default)]
pub(crate) struct Report {
    changes: Vec<Change>,
    contents: HashMap<String, Vec<u8>>,
}

impl Report {
    fn with(mut self, path: &str, kind: ChangeKind) -> Self {
        self.changes.push(Change {
            path: Some(path.to_owned()),
            path_base64: None,
            kind,
        });
        self
    }

    pub(crate) fn file(mut self, path: &str, content: &str, mode: u32) -> Self {
        self.contents.insert(path.to_owned(), content.as_bytes().to_vec());
        self.with(
            path,
            ChangeKind::File {
                size: content.len() as u64,
                mode,
                copied_up: false,
            },
        )
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.with(
            path,
            ChangeKind::Directory {
                mode: 0o755,
                opaque: false,
            },
        )
    }

    pub(crate) fn removed(self, path: &str) -> Self {
        self.with(path, ChangeKind::Removed)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.with(
            path,
            ChangeKind::Symlink {
                target: target.to_owned(),
            },
        )
    }

    pub(crate) fn special(self, path: &str) -> Self {
        self.with(path, ChangeKind::Special)
    }
}

#[async_trait]
impl Source for Report {
    async fn entries(
        &self,
        visit: &mut (dyn FnMut(Change) -> ControlFlow<()> + Send),
    ) -> Result<(), SourceError> {
        let _ = self.changes.iter().cloned().try_for_each(visit);
        Ok(())
    }

    async fn read(&self, path: &RelativePath, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError> {
        let content = &self.contents[path.as_path().to_str().unwrap()];
        let start = usize::try_from(offset).unwrap().min(content.len());
        Ok(content[start..content.len().min(start + limit)].to_vec())
    }
}

/// A workspace that an agent sees since it was made.
pub(crate) struct Workspace {
    base: tempfile::TempDir,
    started: SystemTime,
    session: SessionId,
}

impl Workspace {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let base = tempfile::tempdir().unwrap();
        for name in ["workspace", "data"] {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        for (path, content) in files {
            fs::write(base.path().join("workspace").join(path), content).unwrap();
        }
        wait_past(SystemTime::now());
        Self {
            base,
            started: coarse_now(),
            session: SessionId::random(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.base.path().canonicalize().unwrap().join("workspace")
    }

    pub(crate) fn change_meanwhile(&self, path: &str, content: &str) {
        wait_past(self.started);
        fs::write(self.path().join(path), content).unwrap();
    }

    pub(crate) fn view(&self) -> View {
        View {
            workspace: self.path(),
            masked: Vec::new(),
            started: self.started,
            data: self.base.path().join("data"),
            session: self.session.clone(),
        }
    }
}

fn coarse_now() -> SystemTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    SystemTime::UNIX_EPOCH + Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// Waits until file times are later.
fn wait_past(time: SystemTime) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while coarse_now() <= time {
        assert!(Instant::now() < deadline, "the coarse clock goes on");
        std::thread::yield_now();
    }
}
