//! What instances of hostler run as root on this machine, and which ranges of users they have.
//!
//! ```text
//! /run/hostler/instances/<instance>    locked by its jailer; where the lock is free, anybody takes back what is left
//! /run/hostler/services/<instance>     the same of a jailer that stays: what it left is its own to take back
//! /run/hostler/ranges/.<instance>      holds the instance's name
//! /run/hostler/ranges/<number>         a link to it; made exclusively, so no two have one, and never without the name
//! /run/hostler/records/<instance>/     what a jailer that stays knows of its sandboxes
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
    records: OwnedFd,
    /// Where this instance stands.
    own: OwnedFd,
    /// Held for life.
    _lock: OwnedFd,
    next: u32,
}

/// The name of the jailer that stays for a data directory: the same after each start.
pub fn name_of_service(data: &OwnedFd) -> Result<String, StepError> {
    let found = rustix::fs::fstat(data).during("read data directory", String::new)?;
    Ok(format!("service_{:x}_{:x}", found.st_dev, found.st_ino))
}

impl Registry {
    pub fn open(instance: &str, stays: bool) -> Result<Self, StepError> {
        std::fs::create_dir_all(PLACE).during("make directory", || PLACE.to_owned())?;
        let place = crate::disk::open_directory(PLACE.as_ref())?;
        let instances = crate::disk::directory(&place, "instances")?;
        let own = crate::disk::directory(&place, if stays { "services" } else { "instances" })?;
        let ranges = crate::disk::directory(&place, "ranges")?;
        let records = crate::disk::directory(&place, "records")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::openat(&own, instance, flags, Mode::from_raw_mode(0o600))
            .during("register instance", || instance.to_owned())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .during("lock instance", || format!("{instance} has a jailer already"))?;
        let entry = format!(".{instance}");
        let file = rustix::fs::openat(&ranges, &entry, flags, Mode::from_raw_mode(0o600))
            .during("register instance", || entry.clone())?;
        std::fs::File::from(file)
            .write_all(instance.as_bytes())
            .during("register instance", || entry)?;
        Ok(Self {
            instance: instance.to_owned(),
            instances,
            ranges,
            records,
            own,
            _lock: lock,
            next: 0,
        })
    }

    /// Where this instance writes down its sandboxes.
    pub fn records(&self) -> Result<OwnedFd, StepError> {
        crate::disk::directory(&self.records, &self.instance)
    }

    /// Instances whose jailer is gone and does not come back; this one never stands here.
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

    /// Gives back every range of another instance, and its entries.
    pub fn forget(&self, instance: &str) {
        self.release_all(instance, &[]);
        unlink(&self.ranges, &format!(".{instance}"));
        unlink(&self.instances, instance);
    }

    /// Gives back every range of this instance but these.
    pub fn release_all_but(&self, kept: &[Range]) {
        self.release_all(&self.instance, kept);
    }

    fn release_all(&self, instance: &str, kept: &[Range]) {
        let is_kept = |number: &str| kept.iter().any(|range| range.number.to_string() == number);
        for number in names(&self.ranges) {
            if !is_kept(&number) && self.owner(&number).as_deref() == Some(instance) {
                unlink(&self.ranges, &number);
            }
        }
    }

    /// A range that no other sandbox of this machine has.
    pub fn reserve(&mut self) -> Result<Range, StepError> {
        for _ in 0..RANGES {
            let number = self.next % RANGES;
            self.next = number + 1;
            let own = format!(".{}", self.instance);
            match rustix::fs::linkat(
                &self.ranges,
                &own,
                &self.ranges,
                number.to_string(),
                AtFlags::empty(),
            ) {
                Ok(()) => return Ok(Range { number }),
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
        rustix::fs::unlinkat(&self.records, &self.instance, AtFlags::REMOVEDIR).ok();
        self.forget(&self.instance);
        unlink(&self.own, &self.instance);
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

/// What is gone already is fine, and what cannot be removed is found again by the next start.
fn unlink(directory: &OwnedFd, name: &str) {
    rustix::fs::unlinkat(directory, name, AtFlags::empty()).ok();
}

/// The entries of a directory whose names do not begin with a dot.
pub fn names(directory: &OwnedFd) -> Vec<String> {
    let Ok(entries) = rustix::fs::Dir::read_from(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect()
}
