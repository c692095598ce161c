//! Knowing the sandboxes of a jailer that was killed, and going on with them.
//!
//! A sandbox is known by the machine's uptime, the start of its process 1, and its cgroup; never by who its parent is.
//! What is not known again, or was not whole, is ended.

use crate::cgroup::Cgroups;
use crate::claim::Claim;
use crate::error::{During as _, StepError};
use crate::machine::Machine;
use crate::record::{Record, Records, Stage};
use crate::sys::Child;
use crate::{disk, identity};
use rustix::fd::OwnedFd;
use rustix::fs::RenameFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::time::Duration;

/// How long a process that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// When a process was started, in ticks since boot.
pub fn start_of(pid: i32) -> Option<u64> {
    /// Of `/proc/PID/stat`, counted behind the name, which may hold anything.
    const FIELD: usize = 19;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(FIELD)?.parse().ok()
}

/// The process of a record, if it lives and is the one that was written down. `group` is the end of its cgroup's path.
pub fn recognise(record: &Record, group: Option<&str>) -> Option<Child> {
    let pidfd = pidfd_open(Pid::from_raw(record.pid)?, PidfdFlags::empty()).ok()?;
    let groups = || std::fs::read_to_string(format!("/proc/{}/cgroup", record.pid)).unwrap_or_default();
    let is_there = group.is_none_or(|group| groups().lines().any(|line| line.ends_with(group)));
    let is_same = is_there && start_of(record.pid) == Some(record.started);
    // Looked at last: what was read was of the process that the descriptor means only if it still lives.
    let child = Child {
        pid: record.pid,
        pidfd,
    };
    (is_same && identity::lives(&child.pidfd)).then_some(child)
}

/// The sandboxes that go on. All others that were written down are killed, and their records are gone.
pub fn survivors(
    records: &Records,
    (cgroups, instance): (&Cgroups, &str),
    machine: &Machine,
    sandboxes: &OwnedFd,
) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (record, stage) in records.all() {
        let group = format!("/hostler/{instance}/{}", record.name);
        let child = recognise(&record, machine.has_cgroups.then_some(&group));
        let whole = stage == Stage::Running && has_directory(sandboxes, &record).is_ok();
        match child {
            Some(child) if whole => claims.push(Claim::adopted(record, child, machine)),
            child => {
                if machine.has_cgroups {
                    cgroups.kill(&record.name);
                }
                if let Some(child) = child {
                    pidfd_send_signal(&child.pidfd, Signal::KILL).ok();
                    identity::await_end(&child.pidfd, PATIENCE);
                }
                records.remove(&record.id);
            }
        }
    }
    claims
}

/// A jailer that was killed while it told of a sandbox may have left its directory without the name.
fn has_directory(sandboxes: &OwnedFd, record: &Record) -> Result<(), StepError> {
    let (from, to) = (&record.name, &record.id);
    if disk::has_entry(sandboxes, to) {
        return Ok(());
    }
    rustix::fs::renameat_with(sandboxes, from, sandboxes, to, RenameFlags::NOREPLACE)
        .during("name directory", || to.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::machine::Identity;
    use crate::protocol::Limits;

    fn record(pid: i32, started: u64) -> Record {
        Record {
            id: "sbx_1".to_owned(),
            boot: String::new(),
            identity: Identity::Ranges,
            pid,
            started,
            name: "shell_1".to_owned(),
            range: None,
            limits: Limits {
                cpu_millis: 1,
                memory_bytes: 1,
                disk_bytes: 1,
                pids: 1,
            },
            egress_ports: Vec::new(),
        }
    }

    #[test]
    fn a_process_is_known_by_its_start_and_its_group_and_not_by_its_number() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id() as i32;
        let started = start_of(pid).unwrap();
        assert!(recognise(&record(pid, started), None).is_some());
        assert!(recognise(&record(pid, started + 1), None).is_none());
        assert!(recognise(&record(pid, started), Some("/hostler/other/shell_1")).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(recognise(&record(pid, started), None).is_none());
    }
}
