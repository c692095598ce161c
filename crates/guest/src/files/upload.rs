//! A file on its way from the host: written beside its place, then moved there. A reader sees the old file or the new
//! one; whatever fails, the temporary file goes.

use crate::agent_user::AgentUser;
use crate::refusal::Refusal;
use guest_protocol::ErrorKind;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;

/// How often a name that is taken is followed by the next.
const ATTEMPTS: u32 = 100;

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

pub(crate) struct Upload {
    user: AgentUser,
    directory: OwnedFd,
    name: OsString,
    mode: Mode,
    file: File,
    /// Nothing once it has been moved.
    temporary: Option<String>,
}

impl Upload {
    pub(super) fn begin(
        user: AgentUser,
        directory: OwnedFd,
        name: &OsStr,
        mode: Mode,
    ) -> Result<Self, Refusal> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            let number = NUMBER.replace(NUMBER.get().wrapping_add(1));
            let temporary = format!(".hostler-upload-{number}");
            let opened = user.acting(|| {
                Ok(rustix::fs::openat(
                    &directory,
                    &*temporary,
                    flags,
                    Mode::RUSR | Mode::WUSR,
                ))
            })?;
            match opened {
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(name, error)),
                Ok(fd) => {
                    let (name, temporary) = (name.to_owned(), Some(temporary));
                    return Ok(Self {
                        user,
                        directory,
                        name,
                        mode,
                        file: File::from(fd),
                        temporary,
                    });
                }
            }
        }
        Err(Refusal::new(
            ErrorKind::Internal,
            "too many unfinished uploads lie in the directory",
        ))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        // What may be written, a quota or the space kept for root, is the agent's too.
        let Self { user, name, file, .. } = self;
        user.acting(|| {
            let doing = format!("write {}", name.to_string_lossy());
            file.write_all(bytes)
                .map_err(|error| Refusal::of_system(&doing, &error))
        })
    }

    pub(crate) fn finish(mut self) -> Result<(), Refusal> {
        let Some(temporary) = self.temporary.as_deref() else {
            return Ok(());
        };
        self.user.acting(|| {
            rustix::fs::fchmod(&self.file, self.mode)
                .and_then(|()| rustix::fs::renameat(&self.directory, temporary, &self.directory, &*self.name))
                .map_err(|error| failed(&self.name, error))
        })?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // If the agent removed it first, all is well.
            let _ = self.user.acting(|| {
                let _ = rustix::fs::unlinkat(&self.directory, &*temporary, AtFlags::empty());
                Ok(())
            });
        }
    }
}

fn failed(name: &OsStr, error: Errno) -> Refusal {
    Refusal::of_system(&format!("write {}", name.to_string_lossy()), &error.into())
}
