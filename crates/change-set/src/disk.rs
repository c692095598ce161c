//! Every call by which an apply changes a file system, one method each, so that tests can make each one fail or be
//! the last that ever ran. Names are given with the directory's descriptor: no call resolves a path.

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

type Hook = dyn Fn(&'static str) -> io::Result<()> + Send + Sync;

/// What shall go wrong, asked before each change with the call's name. Nothing, unless a test says so.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

impl Faults {
    pub fn new(hook: impl Fn(&'static str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }
}

/// A directory and a name in it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a>(pub(crate) &'a OwnedFd, pub(crate) &'a OsStr);

/// Owner and group; what is `None` stays as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

#[derive(Clone, Default)]
pub(crate) struct Disk {
    faults: Faults,
}

impl Disk {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults }
    }

    fn before(&self, call: &'static str) -> io::Result<()> {
        self.faults.0.as_ref().map_or(Ok(()), |hook| hook(call))
    }

    pub(crate) fn make_directory(&self, at: At<'_>, mode: u32) -> io::Result<()> {
        self.before("mkdir")?;
        Ok(rustix::fs::mkdirat(at.0, at.1, Mode::from(mode))?)
    }

    /// A new, empty file; one that is there already is an error.
    pub(crate) fn create(&self, at: At<'_>) -> io::Result<File> {
        self.before("create")?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            at.0,
            at.1,
            flags,
            Mode::from(0o600),
        )?))
    }

    pub(crate) fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.before("write")?;
        file.write_all(bytes)
    }

    pub(crate) fn symlink(&self, target: &[u8], at: At<'_>) -> io::Result<()> {
        self.before("symlink")?;
        Ok(rustix::fs::symlinkat(target, at.0, at.1)?)
    }

    /// Of the entry itself, also of a symlink.
    pub(crate) fn change_owner(&self, at: At<'_>, owner: Owner) -> io::Result<()> {
        self.before("chown")?;
        let (uid, gid) = (owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw));
        Ok(rustix::fs::chownat(
            at.0,
            at.1,
            uid,
            gid,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    pub(crate) fn change_mode(&self, file: impl AsFd, mode: u32) -> io::Result<()> {
        self.before("chmod")?;
        Ok(rustix::fs::fchmod(file, Mode::from(mode))?)
    }

    pub(crate) fn sync(&self, file: impl AsFd) -> io::Result<()> {
        self.before("fsync")?;
        Ok(rustix::fs::fsync(file)?)
    }

    /// Everything of the file system that the descriptor is on: one call where there are too many files for one each.
    pub(crate) fn sync_all(&self, directory: impl AsFd) -> io::Result<()> {
        self.before("syncfs")?;
        Ok(rustix::fs::syncfs(directory)?)
    }

    /// Moves an entry to a name that must be free.
    pub(crate) fn rename(&self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        self.before("rename")?;
        match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
            // Some network file systems cannot promise it in one call.
            Err(error) if is_unsupported(&error.into()) => {
                if crate::root::stamp_at(to.0, to.1)?.is_some() {
                    return Err(Errno::EXIST.into());
                }
                Ok(rustix::fs::renameat(from.0, from.1, to.0, to.1)?)
            }
            other => Ok(other?),
        }
    }

    /// Swaps two entries at once. `false` where the file system cannot.
    pub(crate) fn exchange(&self, one: At<'_>, other: At<'_>) -> io::Result<bool> {
        let swapped = self.before("exchange").and_then(|()| {
            Ok(rustix::fs::renameat_with(
                one.0,
                one.1,
                other.0,
                other.1,
                RenameFlags::EXCHANGE,
            )?)
        });
        match swapped {
            Err(error) if is_unsupported(&error) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Removes a file, a symlink, or a directory that is empty.
    pub(crate) fn remove(&self, at: At<'_>, directory: bool) -> io::Result<()> {
        self.before("unlink")?;
        let flags = if directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        match rustix::fs::unlinkat(at.0, at.1, flags) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Replaces a file of hostler's own data directory: afterwards it is the new one, also after a power cut.
    pub(crate) fn replace_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        self.before("create")?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        self.write(&mut file, bytes)?;
        self.sync(&file)?;
        self.before("rename")?;
        fs::rename(&new, path)?;
        self.sync_parent(path)
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.before("unlink")?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.before("rmdir")?;
        fs::remove_dir(path)
    }

    pub(crate) fn make_private_directory(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        self.before("mkdir")?;
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    pub(crate) fn sync_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) => self.sync(&File::open(parent)?),
            None => Ok(()),
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
    )
}

/// The lock of a file or directory. Given back when dropped, also if a child process that is just being started still
/// has a copy of the descriptor.
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock, if nobody has it.
    pub(crate) fn take(file: File) -> io::Result<Option<Self>> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing gives it back too.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}
