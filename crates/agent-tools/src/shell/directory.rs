//! The private directory of the named pipes and the state file.
//!
//! A pair of pipes is kept from call to call while nothing holds it, so that a command can still run, and clean up, on
//! a full disk. If the directory is removed by a command, it is made anew.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use tempfile::TempDir;
use tokio::net::unix::pipe;

pub(crate) struct Directory {
    root: TempDir,
    made: u64,
    spare: Option<[PathBuf; 2]>,
}

/// Both ends of a call's stdout and stderr pipes.
pub(crate) struct Pipes {
    pub(crate) paths: [PathBuf; 2],
    pub(crate) readers: [pipe::Receiver; 2],
    /// Held until the status is known, so that the readers do not see an end before the shell has opened the pipes.
    pub(crate) held: [OwnedFd; 2],
}

impl Directory {
    pub(crate) fn new(fallback: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("hostler-shell-");
        let root = builder.tempdir().or_else(|_| {
            std::fs::create_dir_all(fallback)?;
            builder.tempdir_in(fallback)
        })?;
        Ok(Self {
            root,
            made: 0,
            spare: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub(crate) fn pipes(&mut self) -> io::Result<Pipes> {
        if let Some(paths) = self.spare.take()
            && let Ok(pipes) = open(paths)
        {
            return Ok(pipes);
        }
        self.made += 1;
        let paths = ["out", "err"].map(|name| self.root.path().join(format!("{name}-{}", self.made)));
        if !self.root.path().is_dir() {
            std::fs::create_dir_all(self.root.path())?;
            std::fs::set_permissions(
                self.root.path(),
                std::os::unix::fs::PermissionsExt::from_mode(0o700),
            )?;
        }
        for path in &paths {
            rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
        }
        open(paths)
    }

    /// Takes a pair back. `idle` says that nothing holds its writing ends.
    pub(crate) fn give_back(&mut self, paths: [PathBuf; 2], idle: bool) {
        if idle {
            self.spare = Some(paths);
            return;
        }
        for path in paths {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!(%error, path = %path.display(), "a pipe was gone already");
            }
        }
    }
}

fn open(paths: [PathBuf; 2]) -> io::Result<Pipes> {
    let reader = |path: &PathBuf| pipe::OpenOptions::new().open_receiver(path);
    let held = |path: &PathBuf| {
        rustix::fs::open(
            path,
            OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    let readers = [reader(&paths[0])?, reader(&paths[1])?];
    let held = [held(&paths[0])?, held(&paths[1])?];
    Ok(Pipes { paths, readers, held })
}
