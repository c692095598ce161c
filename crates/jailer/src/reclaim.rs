//! Taking back what an instance left that was killed: processes, cgroups, ranges of users, sockets, spare disks.
//!
//! Mounts, namespaces and loop devices need no reclaiming: they are held by processes and descriptors only. Files of
//! sandboxes stay until their session is removed.

use crate::cgroup::Cgroups;
use crate::cgroup::layout::Layout;
use crate::error::{During as _, StepError};
use crate::registry::Registry;
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
            taken => return taken.during("wait for the last jailer", || "sandboxes".to_owned()),
        }
    }
}

/// Everything of instances whose jailer is gone, and what this instance left the last time.
pub fn dead_instances(registry: &Registry, layout: &Layout, own: &str) {
    for instance in registry.dead_instances() {
        if remove_groups(layout, &instance) {
            registry.forget(&instance);
        }
    }
    groups(layout, own);
    registry.forget(own);
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

/// Sockets of guests that are gone.
pub fn sockets(sandboxes: &OwnedFd) {
    let Ok(entries) = rustix::fs::Dir::read_from(sandboxes) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            rustix::fs::unlinkat(
                sandboxes,
                format!("{name}/{}", crate::shells::SOCKET),
                AtFlags::empty(),
            )
            .ok();
            // A sandbox that left no disk left nothing.
            rustix::fs::unlinkat(sandboxes, &name, AtFlags::REMOVEDIR).ok();
        }
    }
}
