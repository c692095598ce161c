//! Files of one group, relative to the instance's directory in one hierarchy.

use super::directory;
use crate::error::{During as _, StepError};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

const MOST_BYTES: u64 = 1 << 20;

pub(super) fn write(base: &OwnedFd, name: &str, file: &str, value: &str) -> Result<(), StepError> {
    let path = format!("{name}/{file}");
    rustix::fs::openat(
        directory(base),
        &path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(std::io::Error::from)
    .and_then(|fd| std::fs::File::from(fd).write_all(value.as_bytes()))
    .during("write cgroup", || format!("{path} = {value}"))
}

pub(super) fn read(base: &OwnedFd, name: &str, file: &str) -> Option<String> {
    let path = format!("{name}/{file}");
    let fd = rustix::fs::openat(
        directory(base),
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let mut text = String::new();
    std::fs::File::from(fd)
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

pub(super) fn read_number(base: &OwnedFd, name: &str, file: &str) -> Option<u64> {
    read(base, name, file)?.trim().parse().ok()
}

/// The number behind `key` in a file of `key number` lines.
pub(super) fn read_key(base: &OwnedFd, name: &str, file: &str, key: &str) -> Option<u64> {
    read(base, name, file)?
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(found, _)| *found == key)
        .and_then(|(_, number)| number.trim().parse().ok())
}

pub(super) fn kill_members(base: &OwnedFd, name: &str) {
    let members = read(base, name, "cgroup.procs").unwrap_or_default();
    for pid in members
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
    {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

/// Removes the group's directory, waiting for its last processes to be gone. Nothing to remove is fine.
pub(super) fn remove(base: &OwnedFd, name: &str, deadline: Instant) -> Result<(), StepError> {
    loop {
        match rustix::fs::unlinkat(directory(base), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::BUSY) if Instant::now() < deadline => {
                kill_members(base, name);
                std::thread::sleep(Duration::from_micros(500));
            }
            Err(errno) => return Err(errno).during("remove cgroup", || name.to_owned()),
        }
    }
}

pub(super) fn names(base: &OwnedFd) -> Vec<String> {
    let Ok(entries) = rustix::fs::Dir::read_from(base) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect()
}
