//! The v2 files of each controller.

use super::{Controller, tree};
use crate::error::StepError;
use crate::protocol::{Limits, Observation};
use rustix::fd::OwnedFd;
use std::path::Path;
use std::{fs, io};

const CONTROL: &str = "cgroup.subtree_control";
const MEMBERS: &str = "cgroup.procs";
/// Where the processes go that were in the group that was delegated.
pub(super) const ASIDE: &str = "hostler-main";
const PERIOD_MICROS: u64 = 100_000;

fn kernel_name(controller: Controller) -> Option<&'static str> {
    match controller {
        Controller::Cpu => Some("cpu"),
        Controller::Memory => Some("memory"),
        Controller::Pids => Some("pids"),
        // Freezing is part of the hierarchy itself.
        Controller::Freezer => None,
    }
}

/// The controllers named in a `cgroup.controllers` file.
pub(super) fn controllers(text: &str) -> Vec<Controller> {
    [Controller::Cpu, Controller::Memory, Controller::Pids]
        .into_iter()
        .filter(|controller| {
            text.split_whitespace()
                .any(|word| kernel_name(*controller) == Some(word))
        })
        .collect()
}

/// Passes controllers down from the top of the mount to the instance's children, and says which arrived.
pub(super) fn enable_controllers(
    instance: &Path,
    mount: &Path,
    controllers: &[Controller],
) -> Vec<Controller> {
    let mut levels: Vec<_> = instance
        .ancestors()
        .take_while(|level| level.starts_with(mount))
        .collect();
    levels.reverse();
    for level in levels {
        // Of all groups only the machine's root, which has no type, passes controllers on and has processes as well.
        if level.join("cgroup.type").exists() {
            move_aside(level).ok();
        }
        for name in controllers
            .iter()
            .filter_map(|controller| kernel_name(*controller))
        {
            fs::write(level.join(CONTROL), format!("+{name}")).ok();
        }
    }
    self::controllers(&fs::read_to_string(instance.join(CONTROL)).unwrap_or_default())
}

/// Gives the processes of a group, if there are any, one for themselves.
fn move_aside(level: &Path) -> io::Result<()> {
    if fs::read_to_string(level.join(MEMBERS))?.is_empty() {
        return Ok(());
    }
    let aside = level.join(ASIDE);
    match fs::create_dir(&aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => move_members(level, &aside),
    }
}

/// Undoes what [`enable_controllers`] did to a delegated group, when no instance is left in it.
pub(super) fn move_back(mount: &Path) {
    let aside = mount.join(ASIDE);
    if !aside.is_dir() {
        return;
    }
    let enabled = fs::read_to_string(mount.join(CONTROL)).unwrap_or_default();
    for name in enabled.split_whitespace() {
        fs::write(mount.join(CONTROL), format!("-{name}")).ok();
    }
    if move_members(&aside, mount).is_ok() {
        fs::remove_dir(aside).ok();
    }
}

fn move_members(from: &Path, to: &Path) -> io::Result<()> {
    let members = fs::read_to_string(from.join(MEMBERS))?;
    for pid in members.lines() {
        // Some end meanwhile.
        fs::write(to.join(MEMBERS), pid).ok();
    }
    Ok(())
}

pub(super) fn set_limits(
    base: &OwnedFd,
    name: &str,
    controllers: &[Controller],
    limits: &Limits,
) -> Result<(), StepError> {
    if controllers.contains(&Controller::Cpu) {
        let quota = u64::from(limits.cpu_millis) * PERIOD_MICROS / 1000;
        tree::write(base, name, "cpu.max", &format!("{quota} {PERIOD_MICROS}"))?;
    }
    if controllers.contains(&Controller::Memory) {
        tree::write(base, name, "memory.max", &limits.memory_bytes.to_string())?;
        // The limit is for memory and swap together; a kernel without swap accounting has no such file.
        if tree::read(base, name, "memory.swap.max").is_some() {
            tree::write(base, name, "memory.swap.max", "0")?;
        }
    }
    if controllers.contains(&Controller::Pids) {
        tree::write(base, name, "pids.max", &limits.pids.to_string())?;
    }
    Ok(())
}

pub(super) fn observe(base: &OwnedFd, name: &str, controllers: &[Controller], observation: &mut Observation) {
    observation.cpu_micros = tree::read_key(base, name, "cpu.stat", "usage_usec");
    if controllers.contains(&Controller::Memory) {
        observation.memory_bytes = tree::read_number(base, name, "memory.current");
        observation.memory_kills = tree::read_key(base, name, "memory.events", "oom_kill");
    }
    if controllers.contains(&Controller::Pids) {
        observation.pids = tree::read_number(base, name, "pids.current");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_name_controllers() {
        assert_eq!(
            controllers("cpuset cpu io memory pids\n"),
            [Controller::Cpu, Controller::Memory, Controller::Pids]
        );
        assert_eq!(controllers("cpuset hugetlb"), []);
    }
}
