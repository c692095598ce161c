//! Taking back what an instance left that was killed: processes, cgroups, ranges of users, sockets, spare disks.
//!
//! Mounts, namespaces and loop devices need no reclaiming: they are held by processes and descriptors only. Files of
//! sandboxes stay until their session is removed; those of one that never came to be go, and what it took from
//! another goes back.

use crate::cgroup::Cgroups;
use crate::cgroup::layout::Layout;
use crate::disk::{self, inherit};
use crate::error::{During as _, StepError};
use crate::registry::{Range, Registry};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, flock};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until the jailer of a hostler that was killed is done with this directory, and keeps others out of it: what it
/// takes down would have the names of what this one makes.
pub fn take_over(sandboxes: &OwnedFd) -> Result<(), StepError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match flock(sandboxes, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(PAUSE),
            taken => {
                return taken.during("take data directory", || {
                    "another jailer has it: is a `hostler serve` using it, or was one left to go on?"
                        .to_owned()
                });
            }
        }
    }
}

/// Everything of instances whose jailer is gone.
pub fn dead_instances(registry: &Registry, layout: &Layout) {
    for instance in registry.dead_instances() {
        if remove_groups(layout, &instance) {
            registry.forget(&instance);
        }
    }
}

/// Ends and removes what this instance left the last time, but for these groups and ranges.
pub fn own(cgroups: &Cgroups, registry: Option<&Registry>, (groups, ranges): (&[&str], &[Range])) {
    let mut gone = true;
    for name in cgroups.names() {
        if !groups.contains(&name.as_str()) {
            cgroups.kill(&name);
            gone &= cgroups.remove(&name, PATIENCE).is_ok();
        }
    }
    // A range is given back when nobody can be left who has it.
    if let Some(registry) = registry.filter(|_| gone) {
        registry.release_all_but(ranges);
    }
}

/// Ends what is in the groups of an instance and removes them; says whether none is left.
pub fn remove_groups(layout: &Layout, instance: &str) -> bool {
    groups(layout, instance);
    let hierarchies = || layout.v2.iter().chain(&layout.v1);
    for hierarchy in hierarchies() {
        std::fs::remove_dir(hierarchy.base.join(instance)).ok();
        // The directory of all instances goes with the last of them.
        std::fs::remove_dir(&hierarchy.base).ok();
    }
    Cgroups::give_back(layout);
    !hierarchies().any(|hierarchy| hierarchy.base.join(instance).exists())
}

/// Ends every process in the groups of an instance and removes the groups.
fn groups(layout: &Layout, instance: &str) {
    let there = |base: &std::path::Path| base.join(instance).is_dir();
    if !layout
        .v2
        .iter()
        .chain(&layout.v1)
        .any(|hierarchy| there(&hierarchy.base))
    {
        return;
    }
    let Ok(cgroups) = Cgroups::open(layout, instance) else {
        return;
    };
    for name in cgroups.names() {
        cgroups.kill(&name);
        cgroups.remove(&name, PATIENCE).ok();
    }
}

/// Directories of sandboxes that are gone: their sockets, and all of those that never came to be.
pub fn directories(sandboxes: &OwnedFd, kept: &[&str]) {
    for name in crate::registry::names(sandboxes) {
        if kept.contains(&name.as_str()) {
            continue;
        }
        if name.starts_with(crate::shells::PREFIX) {
            // What cannot be done now is tried again by the next start.
            if inherit::give_back(sandboxes, &name).is_ok() {
                disk::remove_tree(sandboxes, &name).ok();
            }
            continue;
        }
        let socket = format!("{name}/{}", crate::shells::SOCKET);
        rustix::fs::unlinkat(sandboxes, socket, AtFlags::empty()).ok();
        // A sandbox that left no disk left nothing.
        rustix::fs::unlinkat(sandboxes, &name, AtFlags::REMOVEDIR).ok();
    }
}
