//! A workspace, a report of changes that need not come from any kernel, and a picture of a directory tree.

use async_trait::async_trait;
use base64::Engine as _;
use change_set::{
    Allowed, Applied, ApplyError, ChangeSet, CollectError, Faults, Options, RelativePath, Source,
    SourceError, View,
};
use domain::SessionId;
use guest_protocol::{Change, ChangeKind};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

/// A report as a test writes it.
#[derive(Default, Clone)]
pub struct Report {
    pub changes: Vec<Change>,
    pub contents: HashMap<Vec<u8>, Vec<u8>>,
}

impl Report {
    fn with(mut self, path: impl AsRef<[u8]>, kind: ChangeKind) -> Self {
        let path = path.as_ref();
        let (text, encoded) = match std::str::from_utf8(path) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(base64::engine::general_purpose::STANDARD.encode(path))),
        };
        self.changes.push(Change {
            path: text,
            path_base64: encoded,
            kind,
        });
        self
    }

    pub fn file_as(
        mut self,
        path: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
        mode: u32,
        copied_up: bool,
    ) -> Self {
        let content = content.as_ref().to_vec();
        let size = content.len() as u64;
        self.contents.insert(path.as_ref().to_vec(), content);
        self.with(
            path,
            ChangeKind::File {
                size,
                mode,
                copied_up,
            },
        )
    }

    pub fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.file_as(path, content, 0o644, false)
    }

    pub fn edited(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.file_as(path, content, 0o644, true)
    }

    pub fn directory(self, path: impl AsRef<[u8]>) -> Self {
        self.with(
            path,
            ChangeKind::Directory {
                mode: 0o755,
                opaque: false,
            },
        )
    }

    pub fn opaque(self, path: impl AsRef<[u8]>) -> Self {
        self.with(
            path,
            ChangeKind::Directory {
                mode: 0o755,
                opaque: true,
            },
        )
    }

    pub fn removed(self, path: impl AsRef<[u8]>) -> Self {
        self.with(path, ChangeKind::Removed)
    }

    pub fn symlink(self, path: impl AsRef<[u8]>, target: &str) -> Self {
        self.with(
            path,
            ChangeKind::Symlink {
                target: target.to_owned(),
            },
        )
    }

    pub fn special(self, path: impl AsRef<[u8]>) -> Self {
        self.with(path, ChangeKind::Special)
    }
}

#[async_trait]
impl Source for Report {
    async fn entries(
        &self,
        visit: &mut (dyn FnMut(Change) -> ControlFlow<()> + Send),
    ) -> Result<(), SourceError> {
        for change in &self.changes {
            if visit(change.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn read(&self, path: &RelativePath, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError> {
        let content = self
            .contents
            .get(path.as_bytes())
            .ok_or_else(|| SourceError::Read {
                path: path.clone(),
                reason: "no such file".to_owned(),
            })?;
        let start = usize::try_from(offset).unwrap().min(content.len());
        let end = content.len().min(start.saturating_add(limit));
        Ok(content[start..end].to_vec())
    }
}

/// A workspace and a data directory that go with the test.
pub struct Fixture {
    _base: tempfile::TempDir,
    pub base: PathBuf,
    pub workspace: PathBuf,
    pub data: PathBuf,
    pub session: SessionId,
    pub started: SystemTime,
}

fn coarse_now() -> SystemTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    SystemTime::UNIX_EPOCH + Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// Waits until file times are later than `time`.
fn wait_past(time: SystemTime) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while coarse_now() <= time {
        assert!(Instant::now() < deadline, "the coarse clock goes on");
        std::thread::yield_now();
    }
}

impl Fixture {
    pub fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().canonicalize().unwrap();
        let (workspace, data) = (path.join("workspace"), path.join("data"));
        fs::create_dir(&workspace).unwrap();
        fs::create_dir(&data).unwrap();
        let started = SystemTime::now();
        Self {
            _base: base,
            base: path,
            workspace,
            data,
            session: SessionId::random(),
            started,
        }
    }

    /// A workspace with these files, seen by an agent from now on.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let mut fixture = Self::new();
        for (path, content) in files {
            fixture.write(path, content);
        }
        fixture.begin();
        fixture
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.workspace.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The agent's view begins: what was written before is what it sees.
    pub fn begin(&mut self) {
        wait_past(SystemTime::now());
        self.started = coarse_now();
    }

    /// What the user does while the agent works.
    pub fn meanwhile(&self, act: impl FnOnce(&Path)) {
        wait_past(self.started);
        act(&self.workspace);
    }

    pub fn view(&self) -> View {
        View {
            workspace: self.workspace.clone(),
            masked: Vec::new(),
            started: self.started,
            data: self.data.clone(),
            session: self.session.clone(),
        }
    }

    pub async fn collect(&self, report: &dyn Source) -> Result<ChangeSet, CollectError> {
        change_set::collect(report, &self.view()).await
    }

    pub fn options(&self, allowed: Allowed, faults: Faults) -> Options {
        Options {
            data: self.data.clone(),
            session: self.session.clone(),
            allowed,
            interrupted: Arc::new(AtomicBool::new(false)),
            faults,
        }
    }

    pub async fn apply_with(
        &self,
        report: &dyn Source,
        allowed: Allowed,
        faults: Faults,
    ) -> Result<Applied, ApplyError> {
        let set = self.collect(report).await.unwrap();
        change_set::apply(report, &set, &self.options(allowed, faults)).await
    }

    pub async fn apply(&self, report: &dyn Source) -> Result<Applied, ApplyError> {
        self.apply_with(report, Allowed::default(), Faults::default())
            .await
    }

    pub fn picture(&self) -> Picture {
        picture(&self.workspace)
    }
}

pub const EVERYTHING: Allowed = Allowed {
    git: true,
    symlinks: true,
    executables: true,
};

/// Path to what is there, with content, target and whether it is executable.
pub type Picture = BTreeMap<String, String>;

pub fn picture(directory: &Path) -> Picture {
    let mut picture = Picture::new();
    draw(directory, directory, &mut picture);
    picture
}

fn draw(top: &Path, directory: &Path, picture: &mut Picture) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let shown = if metadata.is_dir() {
            draw(top, &path, picture);
            "directory".to_owned()
        } else if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else {
            let mark = if metadata.permissions().mode() & 0o111 == 0 {
                ""
            } else {
                "* "
            };
            format!("{mark}{}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
        };
        let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes();
        picture.insert(change_set::printable(name), shown);
    }
}

/// One line for each entry: mark, path, class and lines.
pub fn summary(set: &ChangeSet) -> Vec<String> {
    use change_set::{Kind, Lines};
    let line = |entry: &change_set::Entry| {
        let kind = match entry.kind {
            Kind::Added => "+",
            Kind::Modified => "~",
            Kind::ModeChanged => "x",
            Kind::Removed => "-",
            Kind::Replaced => "=",
        };
        let lines = match entry.lines {
            Lines::Counted { added, removed } => format!(" +{added} -{removed}"),
            Lines::Binary => " binary".to_owned(),
            Lines::NotCounted => " uncounted".to_owned(),
            Lines::None => String::new(),
        };
        let mut marks = String::new();
        for (is, mark) in [
            (entry.class.git, " git"),
            (entry.class.symlink, " symlink"),
            (entry.class.executable, " executable"),
            (entry.class.special, " special"),
            (entry.conflict.is_some(), " conflict"),
        ] {
            if is {
                marks.push_str(mark);
            }
        }
        format!("{kind} {}{lines}{marks}", entry.path)
    };
    set.entries.iter().map(line).collect()
}
