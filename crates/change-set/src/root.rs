//! The workspace as a directory descriptor. Everything below it is reached through the kernel's own promise
//! (`openat2` with `RESOLVE_BENEATH`, no symlinks, no mount points), so nobody who renames, links or mounts
//! meanwhile can lead hostler anywhere else.

use crate::path::RelativePath;
use crate::stamp::{NodeKind, Stamp};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// An open workspace.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
    stamp: Stamp,
}

/// Why the workspace itself cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("{path} is not an absolute path without symlinks to a directory: was it replaced?")]
    Replaced { path: PathBuf },
    #[error("cannot open the workspace {path}")]
    Open { path: PathBuf, source: io::Error },
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV
}

impl Root {
    /// Opens the directory at an absolute path no part of which is a symlink.
    pub(crate) fn open(path: &Path) -> Result<Self, RootError> {
        let replaced = || RootError::Replaced {
            path: path.to_owned(),
        };
        if !path.is_absolute() {
            return Err(replaced());
        }
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = match rustix::fs::openat2(CWD, path, DIRECTORY, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(replaced()),
            Err(error) => {
                return Err(RootError::Open {
                    path: path.to_owned(),
                    source: error.into(),
                });
            }
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| RootError::Open {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            stamp: Stamp::from(&stat),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The directory's own stamp, from when it was opened.
    pub(crate) fn own_stamp(&self) -> Stamp {
        self.stamp
    }

    /// The directory that holds `path`, for calls that take a directory and a name.
    pub(crate) fn parent(&self, path: &RelativePath) -> io::Result<OwnedFd> {
        match path.parent() {
            Some(parent) => self.directory(&parent),
            None => Ok(self.fd.try_clone()?),
        }
    }

    /// Opens a directory for reading.
    pub(crate) fn directory(&self, path: &RelativePath) -> io::Result<OwnedFd> {
        self.open_beneath(path, DIRECTORY)
    }

    /// What is at `path` now; nothing where it or a directory above it is absent or is no directory.
    pub(crate) fn stamp(&self, path: &RelativePath) -> io::Result<Option<Stamp>> {
        let parent = match self.parent(path) {
            Ok(parent) => parent,
            Err(error) => return absent(error),
        };
        stamp_at(&parent, path.name())
    }

    /// Opens a regular file for reading; anything else is an error and is never waited for.
    pub(crate) fn open_file(&self, path: &RelativePath) -> io::Result<(File, Stamp)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = self.open_beneath(path, flags)?;
        let stamp = Stamp::from(&rustix::fs::fstat(&file)?);
        if stamp.kind != NodeKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((File::from(file), stamp))
    }

    /// The target of a symlink.
    pub(crate) fn read_link(&self, path: &RelativePath) -> io::Result<Vec<u8>> {
        let parent = self.parent(path)?;
        Ok(rustix::fs::readlinkat(&parent, path.name(), Vec::new())?.into_bytes())
    }

    /// The names in a directory, sorted; of the workspace itself without a path.
    pub(crate) fn list(&self, path: Option<&RelativePath>) -> io::Result<Vec<Vec<u8>>> {
        let directory = match path {
            Some(path) => self.directory(path)?,
            None => rustix::fs::openat(&self.fd, ".", DIRECTORY, Mode::empty())?,
        };
        list(directory)
    }

    fn open_beneath(&self, path: &RelativePath, flags: OFlags) -> io::Result<OwnedFd> {
        // The kernel answers EAGAIN when a rename elsewhere keeps it from proving that the path stayed beneath.
        for _ in 0..64 {
            match rustix::fs::openat2(
                &self.fd,
                path.as_path(),
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                beneath(),
            ) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

/// The names in an open directory, sorted, without `.` and `..`.
pub(crate) fn list(directory: OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

/// What has this name in an open directory.
pub(crate) fn stamp_at(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<Stamp>> {
    match rustix::fs::statat(directory, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Stamp::from(&stat))),
        Err(error) => absent(error.into()),
    }
}

fn absent(error: io::Error) -> io::Result<Option<Stamp>> {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> RelativePath {
        RelativePath::try_from(text).unwrap()
    }

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_symlink_in_the_way_is_never_followed() {
        let outside = directory();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let workspace = directory();
        symlink(outside.path(), workspace.path().join("out")).unwrap();
        symlink(outside.path().join("secret"), workspace.path().join("file")).unwrap();
        let root = Root::open(&workspace.path().canonicalize().unwrap()).unwrap();
        assert_eq!(root.stamp(&path("out/secret")).unwrap(), None);
        assert!(root.parent(&path("out/secret")).is_err());
        assert!(root.open_file(&path("out/secret")).is_err());
        assert!(root.open_file(&path("file")).is_err());
        assert!(root.list(Some(&path("out"))).is_err());
        assert_eq!(
            root.stamp(&path("file")).unwrap().unwrap().kind,
            NodeKind::Symlink
        );
    }

    #[test]
    fn a_workspace_behind_a_symlink_is_refused() {
        let parent = directory();
        let parent = parent.path().canonicalize().unwrap();
        fs::create_dir(parent.join("real")).unwrap();
        symlink("real", parent.join("link")).unwrap();
        assert!(matches!(
            Root::open(&parent.join("link")),
            Err(RootError::Replaced { .. })
        ));
        assert!(matches!(
            Root::open(Path::new("relative")),
            Err(RootError::Replaced { .. })
        ));
        assert!(matches!(
            Root::open(&parent.join("none")),
            Err(RootError::Open { .. })
        ));
        assert!(Root::open(&parent.join("real")).is_ok());
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let workspace = directory();
        rustix::fs::mknodat(
            CWD,
            workspace.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::from(0o600),
            0,
        )
        .unwrap();
        let root = Root::open(&workspace.path().canonicalize().unwrap()).unwrap();
        assert!(root.open_file(&path("pipe")).is_err());
    }
}
