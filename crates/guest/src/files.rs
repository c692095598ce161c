//! Files of the sandbox, by the agent's own rights: what the agent may not read or write, the host may not through it.
//!
//! Only regular files are read and written, whatever a path turns out to be; nothing is opened that could block. In a
//! reader all paths stay below its directory, no symlink is followed, and nothing is written.

mod download;
mod listing;
mod path;
mod upload;

pub(crate) use download::Download;
pub(crate) use path::Opened;
pub(crate) use upload::Upload;

use crate::agent_user::AgentUser;
use crate::refusal::Refusal;
use guest_protocol::FileEntry;
use path::Base;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// A name in `/proc` leads to what is no file of the agent, the guest's own descriptors among them.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

pub(crate) struct Files {
    user: AgentUser,
    base: Base,
}

impl Files {
    /// All of the sandbox, relative paths from `cwd`.
    pub(crate) fn of_sandbox(user: AgentUser, cwd: &str) -> Self {
        Self {
            user,
            base: Base::Sandbox { cwd: cwd.into() },
        }
    }

    /// What is below `root`, for reading.
    pub(crate) fn below(user: AgentUser, root: &Path) -> Self {
        Self {
            user,
            base: Base::Below {
                root: root.to_owned(),
            },
        }
    }

    /// A regular file, to be read from `offset`, at most `limit` bytes.
    pub(crate) fn download(&self, path: &[u8], offset: u64, limit: u64) -> Result<Download, Refusal> {
        self.user.acting(|| {
            let opened = self.base.open(path, READ)?;
            let status = rustix::fs::fstat(&opened).map_err(|error| failed("examine", path, error))?;
            let file_system = rustix::fs::fstatfs(&opened).map_err(|error| failed("examine", path, error))?;
            let regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
            // An unlinked file is reached through /proc alone.
            if !regular || status.st_nlink == 0 || file_system.f_type.cast_unsigned() == PROC_SUPER_MAGIC {
                return Err(Refusal::invalid(format!("{} is not a regular file", shown(path))));
            }
            let size = status.st_size.cast_unsigned();
            Ok(Download::new(
                File::from(opened.into_fd()),
                offset,
                size.saturating_sub(offset).min(limit),
            ))
        })
    }

    /// A new file that takes the place of `path` when it is whole.
    pub(crate) fn upload(&self, path: &[u8], mode: u32) -> Result<Upload, Refusal> {
        if mode > 0o777 {
            return Err(Refusal::invalid("mode is permission bits, in octal, up to 0777"));
        }
        let (directory, name) = self.user.acting(|| self.base.parent(path))?;
        Upload::begin(self.user, directory, &name, Mode::from_raw_mode(mode))
    }

    /// Removes a file or an empty directory.
    pub(crate) fn delete(&self, path: &[u8]) -> Result<(), Refusal> {
        self.user.acting(|| {
            let (directory, name) = self.base.parent(path)?;
            match rustix::fs::unlinkat(&directory, &*name, AtFlags::empty()) {
                Err(Errno::ISDIR) => rustix::fs::unlinkat(&directory, &*name, AtFlags::REMOVEDIR),
                result => result,
            }
            .map_err(|error| failed("remove", path, error))
        })
    }

    pub(crate) fn list(&self, path: &[u8]) -> Result<Vec<FileEntry>, Refusal> {
        self.user.acting(|| {
            let directory = self.base.open(path, READ | OFlags::DIRECTORY)?;
            listing::entries(&directory).map_err(|error| match error {
                Errno::OVERFLOW => {
                    let most = listing::MAX_ENTRIES;
                    Refusal::too_large(format!("{} has more than {most} entries", shown(path)))
                }
                error => failed("list", path, error),
            })
        })
    }
}

fn failed(doing: &str, path: &[u8], error: Errno) -> Refusal {
    Refusal::of_system(&format!("{doing} {}", shown(path)), &error.into())
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
