//! The lock on a data directory: one instance of hostler at a time works on it.
//!
//! The lock is `flock` on `instance.lock`, so the kernel frees it however the holder ends; what the file says about
//! the holder is for people.

use domain::InstanceId;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, DirEntry, File, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "instance.lock";
const PRIVATE_DIRECTORY: u32 = 0o700;
/// What a jailer makes there, which may be started before the first server.
const JAILERS: [&str; 5] = ["disks", "images", "jailer.sock", "records", "sandboxes"];

/// A held lock. It is free again when this is dropped.
#[derive(Debug)]
pub struct Instance {
    id: InstanceId,
    boot_id: String,
    directory: PathBuf,
    lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("cannot make the data directory {path}", path = path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{path} is not empty and is no data directory of hostler: use another directory", path = path.display())]
    NotOurs { path: PathBuf },
    #[error("cannot use the lock file {path}", path = path.display())]
    LockFile { path: PathBuf, source: std::io::Error },
    #[error("the data directory {path} is in use by another hostler, process {pid}: end it, or use another --data directory", path = path.display())]
    Taken { path: PathBuf, pid: String },
}

/// What the lock file says.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    instance: InstanceId,
    boot_id: String,
}

impl Instance {
    /// Makes the directory, readable by its owner alone, and locks it.
    pub fn open(directory: &Path) -> Result<Self, InstanceError> {
        let lock_path = directory.join(LOCK_FILE);
        make_directory(directory, &lock_path)?;
        let wrong = |source| InstanceError::LockFile {
            path: lock_path.clone(),
            source,
        };
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(InstanceError::Taken {
                    path: directory.to_owned(),
                    pid: holder_pid(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => return Err(wrong(source)),
        }
        let boot_id = boot_id();
        let id = InstanceId::random();
        let holder = Holder {
            pid: std::process::id(),
            instance: id.clone(),
            boot_id: boot_id.clone(),
        };
        lock.set_len(0).map_err(wrong)?;
        let text = serde_json::to_string(&holder).unwrap_or_default();
        lock.write_all(text.as_bytes()).map_err(wrong)?;
        Ok(Self {
            id,
            boot_id,
            directory: directory.to_owned(),
            lock,
        })
    }

    /// Whether an instance works on a directory now.
    pub fn is_at(directory: &Path) -> bool {
        let lock = File::open(directory.join(LOCK_FILE));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Of this start; every start has its own.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Of the machine's present run; processes of another boot are gone.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Lets the next instance have the directory while this one still reads there.
    pub(crate) fn release(&self) -> std::io::Result<()> {
        self.lock.unlock()
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Makes the directory private. One that holds something else is left alone: it may be shared for a reason.
fn make_directory(path: &Path, lock_path: &Path) -> Result<(), InstanceError> {
    let wrong = |source| InstanceError::Directory {
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        let is_jailers = |entry: std::io::Result<DirEntry>| {
            entry.is_ok_and(|entry| JAILERS.iter().any(|name| entry.file_name() == *name))
        };
        let is_new = path.read_dir().map_err(wrong)?.all(is_jailers);
        if !is_new && !lock_path.exists() {
            return Err(InstanceError::NotOurs {
                path: path.to_owned(),
            });
        }
    }
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIRECTORY)
        .create(path)
        .map_err(wrong)?;
    let mode = path.metadata().map_err(wrong)?.permissions().mode() & 0o7777;
    if mode != PRIVATE_DIRECTORY {
        std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIRECTORY)).map_err(wrong)?;
    }
    Ok(())
}

fn holder_pid(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock
        .rewind()
        .and_then(|()| lock.take(4096).read_to_string(&mut text));
    let holder = read.ok().and_then(|_| serde_json::from_str::<Holder>(&text).ok());
    holder.map_or_else(|| "unknown".to_owned(), |holder| holder.pid.to_string())
}

fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_instance_is_refused_and_told_the_holder_s_pid() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let first = Instance::open(&path).unwrap();
        let error = Instance::open(&path).unwrap_err();
        assert!(
            matches!(error, InstanceError::Taken { ref pid, .. } if *pid == std::process::id().to_string())
        );
        let id = first.id().clone();
        assert!(Instance::is_at(&path));
        drop(first);
        assert!(!Instance::is_at(&path) && !Instance::is_at(parent.path()));
        assert_ne!(*Instance::open(&path).unwrap().id(), id);
    }

    #[test]
    fn the_directory_is_private_also_when_it_was_there_before() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let _held = Instance::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_jailer_may_have_been_there_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in JAILERS {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        Instance::open(parent.path()).unwrap();
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::write(parent.path().join("photo.jpg"), "").unwrap();
        assert!(matches!(
            Instance::open(parent.path()),
            Err(InstanceError::NotOurs { .. })
        ));
        assert_eq!(
            parent.path().metadata().unwrap().permissions().mode() & 0o7777,
            0o755
        );
        let file = parent.path().join("photo.jpg");
        assert!(matches!(
            Instance::open(&file),
            Err(InstanceError::Directory { .. })
        ));
    }
}
