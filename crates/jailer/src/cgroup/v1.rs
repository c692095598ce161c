//! The v1 files of each controller.

use super::{Controller, tree};
use crate::error::StepError;
use crate::protocol::{Limits, Observation};
use rustix::fd::OwnedFd;

const PERIOD_MICROS: u64 = 100_000;

pub(super) fn set_limits(
    base: &OwnedFd,
    name: &str,
    controllers: &[Controller],
    limits: &Limits,
) -> Result<(), StepError> {
    if controllers.contains(&Controller::Cpu) {
        let quota = u64::from(limits.cpu_millis) * PERIOD_MICROS / 1000;
        tree::write(base, name, "cpu.cfs_period_us", &PERIOD_MICROS.to_string())?;
        tree::write(base, name, "cpu.cfs_quota_us", &quota.to_string())?;
    }
    if controllers.contains(&Controller::Memory) {
        set_memory(base, name, limits.memory_bytes)?;
    }
    if controllers.contains(&Controller::Pids) {
        tree::write(base, name, "pids.max", &limits.pids.to_string())?;
    }
    Ok(())
}

/// Memory may never be above memory and swap together, so the order depends on the direction.
fn set_memory(base: &OwnedFd, name: &str, bytes: u64) -> Result<(), StepError> {
    let now = tree::read_number(base, name, "memory.limit_in_bytes").unwrap_or(u64::MAX);
    let counts_swap = tree::read(base, name, "memory.memsw.limit_in_bytes").is_some();
    let mut files = vec!["memory.limit_in_bytes"];
    if counts_swap {
        files.insert(usize::from(bytes < now), "memory.memsw.limit_in_bytes");
    }
    files
        .into_iter()
        .try_for_each(|file| tree::write(base, name, file, &bytes.to_string()))
}

pub(super) fn observe(base: &OwnedFd, name: &str, controllers: &[Controller], observation: &mut Observation) {
    if controllers.contains(&Controller::Memory) {
        observation.memory_bytes = tree::read_number(base, name, "memory.usage_in_bytes");
        observation.memory_kills = tree::read_key(base, name, "memory.oom_control", "oom_kill");
    }
    if controllers.contains(&Controller::Pids) {
        observation.pids = tree::read_number(base, name, "pids.current");
    }
    if observation.cpu_micros.is_none() && controllers.contains(&Controller::Cpu) {
        observation.cpu_micros = tree::read_number(base, name, "cpuacct.usage").map(|nanos| nanos / 1000);
    }
}
