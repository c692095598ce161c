//! `/proc` of the sandbox: its own processes, with what tells about the host masked.

use crate::error::{During as _, StepError};
use crate::mounts::{self, Attributes};
use crate::root;
use rustix::fs::{CWD, Mode, OFlags};
use std::io::Write as _;

/// Where a shell keeps its `/proc` until it has a root.
pub const PREPARED: &str = "/prepared/proc";

/// World-readable files that tell about the host or its other users.
const MASKED_FILES: [&str; 14] = [
    "cmdline",
    "config.gz",
    "diskstats",
    "interrupts",
    "kallsyms",
    "key-users",
    "keys",
    "latency_stats",
    "locks",
    "modules",
    "partitions",
    "sched_debug",
    "swaps",
    "timer_list",
];
const MASKED_DIRECTORIES: [&str; 7] = ["acpi", "asound", "bus", "driver", "fs", "irq", "scsi"];
const READ_ONLY: [&str; 2] = ["sys", "sysrq-trigger"];

/// Mounts a fresh proc of the shell's pid namespace and masks it.
pub fn mount() -> Result<(), StepError> {
    let attributes =
        Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_NOEXEC;
    let proc = mounts::new("proc", &[], attributes)?;
    mounts::attach(&proc, PREPARED)?;
    for name in MASKED_FILES {
        mask(name, "/dev/null")?;
    }
    for name in MASKED_DIRECTORIES {
        mask(name, root::EMPTY)?;
    }
    READ_ONLY.into_iter().try_for_each(|name| {
        let target = format!("{PREPARED}/{name}");
        if !exists(&target) {
            return Ok(());
        }
        let copy = mounts::copy(CWD, &target)?;
        mounts::add_attributes(&copy, attributes | Attributes::MOUNT_ATTR_RDONLY)?;
        mounts::attach(&copy, &target)
    })
}

/// Kernels differ in what they have.
fn exists(path: &str) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()
}

fn mask(name: &str, by: &str) -> Result<(), StepError> {
    let target = format!("{PREPARED}/{name}");
    if !exists(&target) {
        return Ok(());
    }
    let cover = mounts::copy(CWD, by)?;
    let attributes =
        Attributes::MOUNT_ATTR_RDONLY | Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC;
    mounts::add_attributes(&cover, attributes)?;
    mounts::attach(&cover, &target)
}

/// Covers `meminfo`, so that a runtime that sizes its heap by it sees the sandbox's limit and not the host's memory.
pub fn show_memory(bytes: u64) -> Result<(), StepError> {
    let kib = bytes / 1024;
    let file = root::path(".hostler/meminfo");
    let text = format!(
        "MemTotal:       {kib:>8} kB\nMemFree:        {kib:>8} kB\nMemAvailable:   {kib:>8} kB\n\
         Buffers:               0 kB\nCached:                0 kB\nSwapCached:            0 kB\n\
         SwapTotal:             0 kB\nSwapFree:              0 kB\nShmem:                 0 kB\n"
    );
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(CWD, &file, flags, Mode::from_raw_mode(0o644))
        .map_err(std::io::Error::from)
        .and_then(|fd| std::fs::File::from(fd).write_all(text.as_bytes()))
        .during("write memory information", || file.clone())?;
    let cover = mounts::copy(CWD, &file)?;
    mounts::add_attributes(&cover, Attributes::MOUNT_ATTR_RDONLY)?;
    mounts::attach(&cover, &root::path("proc/meminfo"))
}
