//! What instances of hostler run as root on this machine, and which ranges of users they have.
//!
//! ```text
//! /run/hostler/instances/<instance>    locked by its jailer; gone with the machine's uptime
//! /run/hostler/ranges/<number>         names the instance that has it; made exclusively, so no two have one
//! ```

use crate::error::{During as _, StepError};
use crate::identity::COUNT;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use std::io::{Read as _, Write as _};

const PLACE: &str = "/run/hostler";
/// Ranges start above what distributions give to users and containers.
const FIRST_USER: u32 = 1 << 30;
const RANGES: u32 = 16_000;

/// A range of users outside, for one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub number: u32,
}

impl Range {
    pub fn base(self) -> u32 {
        FIRST_USER + self.number * COUNT
    }
}

#[derive(Debug)]
pub struct Registry {
    instance: String,
    instances: OwnedFd,
    ranges: OwnedFd,
    /// Held for life.
    _lock: OwnedFd,
    next: u32,
}

impl Registry {
    pub fn open(instance: &str) -> Result<Self, StepError> {
        std::fs::create_dir_all(PLACE).during("make directory", || PLACE.to_owned())?;
        let place = crate::disk::open_directory(PLACE.as_ref())?;
        let instances = crate::disk::directory(&place, "instances")?;
        let ranges = crate::disk::directory(&place, "ranges")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::openat(&instances, instance, flags, Mode::from_raw_mode(0o600))
            .during("register instance", || instance.to_owned())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .during("lock instance", || format!("{instance} has a jailer already"))?;
        Ok(Self {
            instance: instance.to_owned(),
            instances,
            ranges,
            _lock: lock,
            next: 0,
        })
    }

    /// Instances whose jailer is gone; this one never stands here.
    pub fn dead_instances(&self) -> Vec<String> {
        names(&self.instances)
            .into_iter()
            .filter(|name| *name != self.instance)
            .filter(|name| {
                let opened = rustix::fs::openat(
                    &self.instances,
                    name,
                    OFlags::RDWR | OFlags::CLOEXEC,
                    Mode::empty(),
                );
                opened.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
            })
            .collect()
    }

    /// Gives back every range of an instance; another's entry goes with them.
    pub fn forget(&self, instance: &str) {
        for number in names(&self.ranges) {
            if self.owner(&number).as_deref() == Some(instance) {
                rustix::fs::unlinkat(&self.ranges, &number, AtFlags::empty()).ok();
            }
        }
        if instance != self.instance {
            rustix::fs::unlinkat(&self.instances, instance, AtFlags::empty()).ok();
        }
    }

    /// A range that no other sandbox of this machine has.
    pub fn reserve(&mut self) -> Result<Range, StepError> {
        for _ in 0..RANGES {
            let number = self.next % RANGES;
            self.next = number + 1;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            match rustix::fs::openat(
                &self.ranges,
                number.to_string(),
                flags,
                Mode::from_raw_mode(0o600),
            ) {
                Ok(file) => {
                    let range = Range { number };
                    let written = std::fs::File::from(file).write_all(self.instance.as_bytes());
                    return written
                        .map(|()| range)
                        .during("reserve range", || number.to_string());
                }
                Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(errno).during("reserve range", || number.to_string()),
            }
        }
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull)).during("reserve range", || {
            format!("all {RANGES} ranges of users are taken")
        })
    }

    pub fn release(&self, range: Range) -> Result<(), StepError> {
        rustix::fs::unlinkat(&self.ranges, range.number.to_string(), AtFlags::empty())
            .during("release range", || range.number.to_string())
    }

    /// For an instance that left nothing. Without this its entry stays, and the next start of any instance looks for
    /// what it left.
    pub fn close(self) {
        self.forget(&self.instance);
        rustix::fs::unlinkat(&self.instances, &self.instance, AtFlags::empty()).ok();
    }

    fn owner(&self, number: &str) -> Option<String> {
        let file = rustix::fs::openat(
            &self.ranges,
            number,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        let mut owner = String::new();
        std::fs::File::from(file)
            .take(256)
            .read_to_string(&mut owner)
            .ok()?;
        Some(owner)
    }
}

fn names(directory: &OwnedFd) -> Vec<String> {
    let Ok(entries) = rustix::fs::Dir::read_from(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect()
}
