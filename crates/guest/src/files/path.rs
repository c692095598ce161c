//! From the bytes of a path to an open file.

use super::{failed, shown};
use crate::refusal::Refusal;
use guest_protocol::ErrorKind;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The kernel's own limit.
const MAX_PATH: usize = 4096;

/// Where paths begin.
pub(super) enum Base {
    /// At the root or, if relative, at `cwd`; symlinks lead where they lead the agent.
    Sandbox { cwd: PathBuf },
    /// At `root`, also if absolute; no symlink is followed.
    Below { root: PathBuf },
}

impl Base {
    pub(super) fn open(&self, path: &[u8], flags: OFlags) -> Result<Opened, Refusal> {
        check(path)?;
        match self {
            Self::Sandbox { cwd } => open(&whole(cwd, path), flags)
                .map(Opened::from)
                .map_err(|error| failed("open", path, error)),
            Self::Below { root } => {
                let (directory, name) = below(root, path)?;
                Opened::at(directory.as_fd(), &name, flags).map_err(|error| failed("open", path, error))
            }
        }
    }

    /// The directory that `path` is in, and its name there: what a writer needs.
    pub(super) fn parent(&self, path: &[u8]) -> Result<(OwnedFd, OsString), Refusal> {
        check(path)?;
        match self {
            Self::Sandbox { cwd } => {
                let whole = whole(cwd, path);
                let named = whole.parent().zip(whole.file_name());
                let (parent, name) = named.ok_or_else(|| Refusal::invalid("the path names no file"))?;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = open(parent, flags);
                Ok((
                    opened.map_err(|error| failed("reach", path, error))?,
                    name.to_owned(),
                ))
            }
            Self::Below { .. } => Err(Refusal::new(
                ErrorKind::Denied,
                "these are the files of a dead sandbox: they can only be read",
            )),
        }
    }
}

fn check(path: &[u8]) -> Result<(), Refusal> {
    if path.is_empty() || path.len() > MAX_PATH || path.contains(&0) {
        return Err(Refusal::invalid(format!(
            "a path is 1 to {MAX_PATH} bytes, none of them zero"
        )));
    }
    Ok(())
}

fn whole(cwd: &Path, path: &[u8]) -> PathBuf {
    cwd.join(OsStr::from_bytes(path))
}

/// As the agent's symlinks lead, but through none of those in `/proc` that stand for a process's descriptors: there they
/// would be the guest's own. A filter or an old kernel may lack `openat2`; then what was opened is judged by itself.
fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        result => result,
    }
}

/// Walks to the directory of the last name, directory by directory.
fn below(root: &Path, path: &[u8]) -> Result<(Opened, OsString), Refusal> {
    let mut names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect();
    if names.contains(&&b".."[..]) {
        return Err(Refusal::invalid(format!("{} may lead out", shown(path))));
    }
    let last = names
        .pop()
        .map_or_else(|| OsString::from("."), |name| OsString::from_vec(name.to_vec()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut directories =
        vec![Opened::at(CWD, root.as_os_str(), flags).map_err(|error| failed("reach", path, error))?];
    for name in names {
        let parent = directories.last().map_or(CWD, Opened::as_fd);
        let next = Opened::at(parent, OsStr::from_bytes(name), flags);
        directories.push(next.map_err(|error| failed("reach", path, error))?);
    }
    // The others' modes go back first: the last is reached by its descriptor alone.
    let directory = directories
        .pop()
        .ok_or_else(|| Refusal::invalid("the path names no file"))?;
    Ok((directory, last))
}

/// A file or directory. In a dead sandbox, where its own mode keeps its owner from reading it, the mode is widened while
/// this exists.
pub(crate) struct Opened {
    fd: OwnedFd,
    /// Its drop gives the mode back.
    _widened: Option<Widened>,
}

struct Widened {
    fd: OwnedFd,
    before: Mode,
}

impl Drop for Widened {
    fn drop(&mut self) {
        // It was changed a moment ago by the same owner.
        let _ = rustix::fs::fchmod(&self.fd, self.before);
    }
}

impl Opened {
    /// Never follows a symlink at `name`, which nobody else changes meanwhile.
    pub(crate) fn at(parent: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> rustix::io::Result<Self> {
        let open = || {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        };
        let set = |mode| rustix::fs::chmodat(parent, name, mode, AtFlags::empty());
        let Some((before, _)) = modes(parent, name).filter(|(_, wide)| set(*wide).is_ok()) else {
            return open().map(Self::from);
        };
        let opened = open().and_then(|fd| {
            let widened = Some(Widened {
                fd: rustix::io::fcntl_dupfd_cloexec(&fd, 3)?,
                before,
            });
            Ok(Self {
                fd,
                _widened: widened,
            })
        });
        opened.inspect_err(|_| {
            let _ = set(before);
        })
    }

    /// The descriptor alone, which stays good for reading whatever the mode is.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl From<OwnedFd> for Opened {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, _widened: None }
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The mode of a file or directory that its owner cannot read, and the one with which it can.
fn modes(parent: BorrowedFd<'_>, name: &OsStr) -> Option<(Mode, Mode)> {
    let status = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
    let wide = match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => mode | Mode::RUSR,
        FileType::Directory => mode | Mode::RUSR | Mode::XUSR,
        _ => return None,
    };
    (wide != mode).then_some((mode, wide))
}
