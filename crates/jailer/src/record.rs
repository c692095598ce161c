//! What a jailer that stays writes down of each sandbox, so that the next one can go on if this one is killed.
//!
//! ```text
//! claim --> <id>.building --commit--> <id> --destroy--> <id>.ending --> gone
//! ```
//!
//! As root below `/run/hostler/records/<instance>`, as an ordinary user below `DATA/records`. Processes do not survive
//! the machine's boot, so a record need not either: nothing is synced, and one that cannot be read is of no use. What
//! became of files is told by the directories of sandboxes alone.

use crate::error::{During as _, StepError};
use crate::machine::Identity;
use crate::protocol::Limits;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};

const MOST_BYTES: u64 = 16 << 10;
const BUILDING: &str = ".building";
const ENDING: &str = ".ending";

/// What another jailer needs to know a sandbox again, and to end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    /// Of the machine's uptime.
    pub boot: String,
    pub identity: Identity,
    /// Process 1 on the host, and when it was started, in ticks since boot.
    pub pid: i32,
    pub started: u64,
    /// Of its cgroup, and of its directory until it has the sandbox's name.
    pub name: String,
    /// The number of its range of users.
    pub range: Option<u32>,
    pub limits: Limits,
    pub egress_ports: Vec<u16>,
}

/// How far a sandbox was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Building,
    Running,
    Ending,
}

impl Stage {
    fn file(self, id: &str) -> String {
        let ending = match self {
            Self::Building => BUILDING,
            Self::Running => "",
            Self::Ending => ENDING,
        };
        format!("{id}{ending}")
    }

    fn of(file: &str) -> Self {
        match file {
            file if file.ends_with(BUILDING) => Self::Building,
            file if file.ends_with(ENDING) => Self::Ending,
            _ => Self::Running,
        }
    }
}

#[derive(Debug)]
pub struct Records {
    directory: OwnedFd,
    pub boot: String,
}

impl Records {
    pub fn open(directory: OwnedFd) -> Result<Self, StepError> {
        const BOOT: &str = "/proc/sys/kernel/random/boot_id";
        let boot = std::fs::read_to_string(BOOT).during("read", || BOOT.to_owned())?;
        Ok(Self {
            directory,
            boot: boot.trim().to_owned(),
        })
    }

    /// Written before the sandbox has anything worth keeping.
    pub fn begin(&self, record: &Record) -> Result<(), StepError> {
        let name = Stage::Building.file(&record.id);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let write = || -> std::io::Result<()> {
            let bytes = serde_json::to_vec(record)?;
            let file = rustix::fs::openat(&self.directory, &name, flags, Mode::from_raw_mode(0o600))?;
            std::fs::File::from(file).write_all(&bytes)
        };
        write().during("write record", || name.clone())
    }

    pub fn go(&self, id: &str, from: Stage, to: Stage) -> Result<(), StepError> {
        rustix::fs::renameat(&self.directory, from.file(id), &self.directory, to.file(id))
            .during("move record", || to.file(id))
    }

    pub fn remove(&self, id: &str) {
        for stage in [Stage::Building, Stage::Running, Stage::Ending] {
            // Two of the three are never there.
            rustix::fs::unlinkat(&self.directory, stage.file(id), AtFlags::empty()).ok();
        }
    }

    /// Every record of this uptime. What is older or cannot be read is removed: its processes are gone.
    pub fn all(&self) -> Vec<(Record, Stage)> {
        let mut found = Vec::new();
        for name in crate::registry::names(&self.directory) {
            match self.read(&name) {
                Some(record) if record.boot == self.boot => found.push((record, Stage::of(&name))),
                _ => {
                    rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty()).ok();
                }
            }
        }
        found
    }

    pub fn is_empty(&self) -> bool {
        crate::registry::names(&self.directory).is_empty()
    }

    fn read(&self, name: &str) -> Option<Record> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        std::fs::File::from(file)
            .take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        (Stage::of(name).file(&record.id) == name).then_some(record)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn records() -> (std::path::PathBuf, Records) {
        let path = std::env::temp_dir().join(format!(
            "hostler-records-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&path).unwrap();
        let directory = crate::disk::open_directory(&path).unwrap();
        (path, Records::open(directory).unwrap())
    }

    fn record(boot: &str) -> Record {
        Record {
            id: "sbx_1".to_owned(),
            boot: boot.to_owned(),
            identity: Identity::Ranges,
            pid: 4711,
            started: 12,
            name: "shell_1".to_owned(),
            range: Some(3),
            limits: Limits {
                cpu_millis: 1000,
                memory_bytes: 1,
                disk_bytes: 1,
                pids: 1,
            },
            egress_ports: vec![5432],
        }
    }

    #[test]
    fn a_record_goes_from_stage_to_stage_and_is_read_back() {
        let (path, records) = records();
        let written = record(&records.boot);
        records.begin(&written).unwrap();
        assert_eq!(records.all(), [(written.clone(), Stage::Building)]);
        records.go("sbx_1", Stage::Building, Stage::Running).unwrap();
        assert_eq!(records.all(), [(written.clone(), Stage::Running)]);
        records.go("sbx_1", Stage::Running, Stage::Ending).unwrap();
        assert_eq!(records.all(), [(written, Stage::Ending)]);
        records.remove("sbx_1");
        assert!(records.is_empty());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn records_of_another_uptime_and_torn_ones_are_removed() {
        let (path, records) = records();
        records.begin(&record("another")).unwrap();
        std::fs::write(path.join("sbx_2"), "{\"id\":\"sbx_2\",").unwrap();
        std::fs::write(
            path.join("sbx_3"),
            serde_json::to_vec(&record(&records.boot)).unwrap(),
        )
        .unwrap();
        assert_eq!(records.all(), []);
        assert!(records.is_empty());
        std::fs::remove_dir_all(path).unwrap();
    }
}
