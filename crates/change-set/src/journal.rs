//! The record of an apply under way, in hostler's data directory: `applies/<id>/journal.json`. Whoever applies holds
//! the lock on that directory, so that only what nobody works on any more is recovered.
//!
//! ```text
//!   staging --> applying --> committed --> (gone)
//!      \            \             \
//!       discard      undo steps    clear backups
//! ```

use crate::disk::{Disk, Lock};
use crate::step::Step;
use domain::SessionId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another process may be busy starting or recovering an apply.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Nothing of the workspace is touched yet.
    Staging,
    /// Any number of steps may have been done.
    Applying,
    /// All steps are done; only the backups are left to remove.
    Committed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) session: SessionId,
    pub(crate) workspace: PathBuf,
    /// Of the workspace's directory.
    pub(crate) inode: u64,
    pub(crate) phase: Phase,
    pub(crate) steps: Vec<Step>,
}

pub(crate) struct Journal {
    pub(crate) record: Record,
    pub(crate) data: PathBuf,
    directory: PathBuf,
    disk: Disk,
    /// Held as long as the apply is under way.
    _lock: Lock,
}

fn applies(data: &Path) -> PathBuf {
    data.join("applies")
}

impl Journal {
    /// Notes that an apply begins, before anything is made in the workspace.
    pub(crate) fn begin(
        disk: &Disk,
        data: &Path,
        session: &SessionId,
        workspace: &Path,
        inode: u64,
    ) -> io::Result<Self> {
        let all = applies(data);
        if !all.is_dir() {
            disk.make_private_directory(&all)?;
        }
        let id = random_id()?;
        let directory = all.join(&id);
        let guard = lock_all(&all)?;
        disk.make_private_directory(&directory)?;
        let lock = Lock::take(File::open(&directory)?)?
            .ok_or_else(|| io::Error::other("a new journal is locked by someone else"))?;
        drop(guard);
        let (session, workspace) = (session.clone(), workspace.to_owned());
        let record = Record {
            id,
            session,
            workspace,
            inode,
            phase: Phase::Staging,
            steps: Vec::new(),
        };
        let mut journal = Self {
            record,
            data: data.to_owned(),
            directory,
            disk: disk.clone(),
            _lock: lock,
        };
        match journal
            .advance(Phase::Staging)
            .and_then(|()| disk.sync_parent(&journal.directory))
        {
            Ok(()) => Ok(journal),
            Err(error) => {
                // What cannot be removed now is removed by the next recovery: it says that nothing was done.
                let _ = journal.remove();
                Err(error)
            }
        }
    }

    /// Those of earlier applies that nobody works on. One that says nothing was killed before it did anything.
    pub(crate) fn abandoned(disk: &Disk, data: &Path) -> io::Result<Vec<Result<Self, Unreadable>>> {
        let all = applies(data);
        if !all.is_dir() {
            return Ok(Vec::new());
        }
        let _guard = lock_all(&all)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&all)? {
            let directory = entry?.path();
            if !directory.is_dir() {
                continue;
            }
            let Some(lock) = Lock::take(File::open(&directory)?)? else {
                continue;
            };
            let path = directory.join("journal.json");
            match fs::read(&path) {
                Ok(json) => found.push(match serde_json::from_slice::<Record>(&json) {
                    Ok(record) => {
                        let (data, disk) = (data.to_owned(), disk.clone());
                        Ok(Self {
                            record,
                            data,
                            directory,
                            disk,
                            _lock: lock,
                        })
                    }
                    Err(source) => Err(Unreadable { path, source }),
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    remove_directory(disk, &directory)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Writes the next phase down. After an error the phase on disk may be the old or the new one.
    pub(crate) fn advance(&mut self, phase: Phase) -> io::Result<()> {
        let record = Record {
            phase,
            ..self.record.clone()
        };
        let json = serde_json::to_vec(&record)?;
        self.disk.replace_file(&self.path(), &json)?;
        self.record = record;
        Ok(())
    }

    /// The phase that a recovery would find.
    pub(crate) fn phase_on_disk(&self) -> io::Result<Phase> {
        let record: Record = serde_json::from_slice(&fs::read(self.path())?)?;
        Ok(record.phase)
    }

    /// The apply is over.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.disk.remove_file(&self.path())?;
        remove_directory(&self.disk, &self.directory)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self) -> PathBuf {
        self.directory.join("journal.json")
    }
}

/// A journal that is not one: left where it is, for a person to look at.
#[derive(Debug, thiserror::Error)]
#[error("the journal {path} cannot be read")]
pub struct Unreadable {
    pub path: PathBuf,
    pub source: serde_json::Error,
}

/// Removes a journal's directory with what a killed writer left in it.
fn remove_directory(disk: &Disk, directory: &Path) -> io::Result<()> {
    disk.remove_file(&directory.join("journal.new"))?;
    disk.remove_directory(directory)
}

/// The lock under which journals come to be and are looked for; held only for moments.
fn lock_all(all: &Path) -> io::Result<Lock> {
    let path = all.join("lock");
    let deadline = Instant::now() + LOCK_DEADLINE;
    loop {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        if let Some(lock) = Lock::take(file)? {
            return Ok(lock);
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "another hostler holds the lock of its applies",
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
