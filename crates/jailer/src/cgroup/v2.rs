//! The v2 files of each controller.

use super::{Controller, tree};
use crate::error::StepError;
use crate::protocol::{Limits, Observation};
use rustix::fd::OwnedFd;
use std::path::Path;

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

/// Passes controllers down from the top of the mount to the instance's children.
///
/// A level that refuses is found out later, when a limit cannot be written.
pub(super) fn enable_controllers(instance: &Path, mount: &Path, controllers: &[Controller]) {
    let mut levels: Vec<_> = instance
        .ancestors()
        .take_while(|level| level.starts_with(mount))
        .collect();
    levels.reverse();
    for level in levels {
        for name in controllers
            .iter()
            .filter_map(|controller| kernel_name(*controller))
        {
            std::fs::write(level.join("cgroup.subtree_control"), format!("+{name}")).ok();
        }
    }
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
