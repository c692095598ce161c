//! The changes of a dead sandbox's workspace: a walk of the upper directory of its overlay, parents before children.
//!
//! Nothing is left out in silence: what cannot be read, or is more than can be shown, ends the walk with an error.

mod overlay;

use crate::agent_user::AgentUser;
use crate::files::Opened;
use crate::refusal::Refusal;
use guest_protocol::{Change, ChangeKind};
use rustix::fd::AsFd as _;
use rustix::fs::{AtFlags, CWD, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// Each level holds a descriptor or two.
const MAX_DEPTH: usize = 256;

const MAX_CHANGES: u64 = 1_000_000;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

pub(crate) struct Walk {
    user: AgentUser,
    /// From the root to the directory that is being walked.
    levels: Vec<Level>,
    seen: u64,
}

struct Level {
    directory: Opened,
    /// Relative to the root, with a slash at its end unless it is the root.
    prefix: Vec<u8>,
    names: std::vec::IntoIter<OsString>,
}

impl Walk {
    pub(crate) fn new(user: AgentUser, root: &Path) -> Result<Self, Refusal> {
        let mut walk = Self {
            user,
            levels: Vec::new(),
            seen: 0,
        };
        user.acting(|| {
            let root = Opened::at(CWD, root.as_os_str(), DIRECTORY).map_err(|error| failed(b".", error))?;
            walk.enter(root, Vec::new())
        })?;
        Ok(walk)
    }

    /// The next change; nothing after the last.
    pub(crate) fn next(&mut self) -> Option<Result<Change, Refusal>> {
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                // Its mode goes back, which is the agent's to do.
                let _ = self.user.acting(|| Ok(self.levels.pop()));
                continue;
            };
            self.seen += 1;
            let change = if self.seen > MAX_CHANGES {
                Err(Refusal::too_large(format!(
                    "there are more than {MAX_CHANGES} changes"
                )))
            } else {
                self.user.acting(|| self.examine(&name))
            };
            if change.is_err() {
                let _ = self.user.acting(|| {
                    self.levels.clear();
                    Ok(())
                });
            }
            return Some(change);
        }
    }

    fn examine(&mut self, name: &OsStr) -> Result<Change, Refusal> {
        let Some(level) = self.levels.last() else {
            return Err(Refusal::invalid("the walk has ended"));
        };
        let parent = level.directory.as_fd();
        let path = [&level.prefix, name.as_bytes()].concat();
        let fail = |error| failed(&path, error);
        let status = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        let kind = match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile => {
                let file = Opened::at(parent, name, FILE).map_err(fail)?;
                let marks = overlay::marks(file.as_fd()).map_err(fail)?;
                refuse_partial(&path, &marks)?;
                if marks.whiteout && status.st_size == 0 {
                    ChangeKind::Removed
                } else {
                    let (size, mode) = (status.st_size.cast_unsigned(), mode_of(&status));
                    ChangeKind::File {
                        size,
                        mode,
                        copied_up: marks.copied_up,
                    }
                }
            }
            FileType::Directory => {
                let directory = Opened::at(parent, name, DIRECTORY).map_err(fail)?;
                let marks = overlay::marks(directory.as_fd()).map_err(fail)?;
                refuse_partial(&path, &marks)?;
                self.enter(directory, [&path[..], b"/"].concat())?;
                ChangeKind::Directory {
                    mode: mode_of(&status),
                    opaque: marks.opaque,
                }
            }
            FileType::Symlink => symlink(rustix::fs::readlinkat(parent, name, Vec::new()).map_err(fail)?),
            FileType::CharacterDevice if status.st_rdev == 0 => ChangeKind::Removed,
            _ => ChangeKind::Special,
        };
        Ok(change(path, kind))
    }

    /// Reads the names of a directory, so that its changes come in the order of their bytes.
    fn enter(&mut self, directory: Opened, prefix: Vec<u8>) -> Result<(), Refusal> {
        if self.levels.len() > MAX_DEPTH {
            let message = format!("directories are nested more than {MAX_DEPTH} deep");
            return Err(Refusal::too_large(message));
        }
        let fail = |error| failed(&prefix, error);
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
            if names.len() as u64 > MAX_CHANGES {
                return Err(Refusal::too_large(format!(
                    "there are more than {MAX_CHANGES} changes"
                )));
            }
        }
        names.sort_unstable();
        self.levels.push(Level {
            directory,
            prefix,
            names: names.into_iter(),
        });
        Ok(())
    }
}

/// A file without its data, or a directory under another name, would be applied as what it is not.
fn refuse_partial(path: &[u8], marks: &overlay::Marks) -> Result<(), Refusal> {
    if marks.partial {
        let path = String::from_utf8_lossy(path);
        return Err(Refusal::invalid(format!(
            "{path} is only partly in the upper directory"
        )));
    }
    Ok(())
}

/// A target that is not UTF-8 cannot be told, so the link is one that is never applied.
fn symlink(target: std::ffi::CString) -> ChangeKind {
    target
        .into_string()
        .map_or(ChangeKind::Special, |target| ChangeKind::Symlink { target })
}

fn change(path: Vec<u8>, kind: ChangeKind) -> Change {
    use base64::Engine as _;
    match String::from_utf8(path) {
        Ok(path) => Change {
            path: Some(path),
            path_base64: None,
            kind,
        },
        Err(error) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(error.as_bytes());
            Change {
                path: None,
                path_base64: Some(encoded),
                kind,
            }
        }
    }
}

fn mode_of(status: &Stat) -> u32 {
    status.st_mode & 0o7777
}

fn failed(path: &[u8], error: Errno) -> Refusal {
    Refusal::of_system(&format!("read {}", String::from_utf8_lossy(path)), &error.into())
}
