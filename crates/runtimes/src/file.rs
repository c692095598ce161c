//! Files as all of this crate handles them: errors that name the path, locks, and writing that a crash cannot halve.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path} cannot be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} cannot be written: {source}{}", advice(source))]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} cannot be removed: {source}")]
    Remove { path: PathBuf, source: io::Error },
    #[error("{path} cannot be locked: {source}")]
    Lock { path: PathBuf, source: io::Error },
    #[error("the work on files was stopped before its end: {reason}")]
    Stopped { reason: String },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room (a version takes about 600 MB while it is installed and 400 MB after) and try again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; run this as the user that the data directory belongs to"
        }
        _ => "",
    }
}

impl FileError {
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

/// Held until dropped, or until this process ends.
pub(crate) struct Lock(File);

impl Lock {
    /// Waits for whoever holds it.
    pub(crate) fn wait(path: &Path) -> Result<Self, FileError> {
        let file = Self::open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Self::failed(path, error)),
            }
        }
    }

    /// `None` while somebody holds it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>, FileError> {
        let file = Self::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Self::failed(path, error)),
        }
    }

    fn open(path: &Path) -> Result<File, FileError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        options.open(path).map_err(FileError::writing(path))
    }

    fn failed(path: &Path, error: Errno) -> FileError {
        FileError::Lock {
            path: path.to_owned(),
            source: error.into(),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Also where a child process that is just being started has a copy of the descriptor.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// All of the new content, or all of the old.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(".writing-")
            .tempfile_in(directory)?;
        file.write_all(content)?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(FileError::writing(path))
}

/// What is not there is removed already.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(FileError::Remove {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Work on files, away from the threads that wait for networks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| FileError::Stopped {
            reason: error.to_string(),
        })
}
