//! The disk of a sandbox: what its overlays are written to, limited where the machine can.
//!
//! A disk holds `root/{upper,work}` and `workspace/{upper,work}`, owned by the sandbox's root and agent. As root, these are
//! 0 and 1000 on the disk, whoever they are on the host: it is mounted with its owners mapped, so that another sandbox
//! can read it later.
//!
//! ```text
//! DATA/disks/<bytes>.template        an empty file system of that size
//! DATA/disks/<number>.spare          a copy, mounted by the jailer and waiting
//! DATA/sandboxes/<id>/disk           a sandbox's: an image file or a directory
//! DATA/sandboxes/<id>/from           a link that names the sandbox whose disk it was
//! ```
//!
//! An image in use is locked by the loop device that uses it, so that none is mounted twice.

mod check;
pub mod inherit;
mod loop_device;

use crate::error::{During as _, StepError};
use crate::machine::{DiskMeans, Identity};
use crate::mounts::{self, Attributes};
use crate::rooms::Rooms;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock};
use rustix::process::{Gid, Uid};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use loop_device::{LoopDevices, can_format};

/// The agent's user inside every sandbox.
pub const AGENT: u32 = 1000;
/// The name of a disk in its sandbox's directory.
pub const NAME: &str = "disk";
const LAYOUT: [(&str, User); 6] = [
    ("root", User::Root),
    ("root/upper", User::Root),
    ("root/work", User::Root),
    ("workspace", User::Root),
    ("workspace/upper", User::Agent),
    ("workspace/work", User::Root),
];

/// Somebody inside a sandbox.
#[derive(Debug, Clone, Copy)]
enum User {
    Root,
    Agent,
}

impl User {
    /// The user's number where disks are laid out, which is before their owners are mapped.
    fn number(self, identity: Identity) -> u32 {
        match (identity, self) {
            (Identity::Ranges, Self::Root) | (Identity::Subordinate, Self::Agent) | (Identity::Single, _) => {
                0
            }
            (Identity::Ranges, Self::Agent) => AGENT,
            (Identity::Subordinate, Self::Root) => 1,
        }
    }
}

/// A disk that is mounted and belongs to nobody yet.
#[derive(Debug)]
struct Spare {
    name: String,
    bytes: u64,
    mount: OwnedFd,
}

/// All disks of one instance.
#[derive(Debug)]
pub struct Disks {
    means: DiskMeans,
    identity: Identity,
    devices: Option<LoopDevices>,
    /// `DATA/disks`.
    directory: OwnedFd,
    /// Nobody else may look into disks that are directories.
    private: bool,
    spares: VecDeque<Spare>,
    next: u64,
}

impl Disks {
    pub fn new(
        (means, identity): (DiskMeans, Identity),
        devices: Option<LoopDevices>,
        directory: OwnedFd,
        private: bool,
    ) -> Self {
        Self {
            means,
            identity,
            devices,
            directory,
            private,
            spares: VecDeque::new(),
            next: 0,
        }
    }

    /// How many of this size wait.
    pub fn spares(&self, bytes: u64) -> usize {
        self.spares.iter().filter(|spare| spare.bytes == bytes).count()
    }

    /// Makes one disk ahead of demand. Directories cost nothing, so they are not.
    pub fn make_spare(&mut self, rooms: &Rooms, bytes: u64) -> Result<(), StepError> {
        let Some(devices) = self.devices.as_ref().filter(|_| self.means == DiskMeans::Loop) else {
            return Ok(());
        };
        let template = self.template(devices, rooms, bytes)?;
        self.next += 1;
        let name = format!("{}.spare", self.next);
        let mount = make_image(devices, &self.directory, &name, (&template, bytes))?;
        self.spares.push_back(Spare { name, bytes, mount });
        Ok(())
    }

    /// An empty file system of this size, made once.
    fn template(&self, devices: &LoopDevices, rooms: &Rooms, bytes: u64) -> Result<OwnedFd, StepError> {
        let (name, unfinished) = (format!("{bytes}.template"), format!("{bytes}.unfinished"));
        let directory = &self.directory;
        let open =
            |name: &str| rustix::fs::openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        match open(&name) {
            Err(rustix::io::Errno::NOENT) => {}
            opened => return opened.during("open template", || name.clone()),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, &unfinished, flags, Mode::from_raw_mode(0o600))
            .during("make template", || unfinished.clone())?;
        rustix::fs::ftruncate(&file, bytes).during("size template", || bytes.to_string())?;
        rooms.outside(|| loop_device::format(&path_of(&file)))?;
        lay_out(&mount_image(devices, &file)?, self.identity)?;
        rustix::fs::fsync(&file).during("write template", || unfinished.clone())?;
        rustix::fs::renameat(directory, &unfinished, directory, &name)
            .during("name template", || name.clone())?;
        open(&name).during("open template", || name)
    }

    /// A disk for the sandbox whose directory this is; it stays there until it is removed.
    pub fn take(&mut self, rooms: &Rooms, sandbox: &OwnedFd, bytes: u64) -> Result<OwnedFd, StepError> {
        if self.means == DiskMeans::Directory {
            let mode = Mode::from_raw_mode(if self.private { 0o700 } else { 0o755 });
            return make_directory(rooms, sandbox, (self.identity, mode));
        }
        if self.spares.iter().all(|spare| spare.bytes != bytes) {
            self.make_spare(rooms, bytes)?;
        }
        let found = self.spares.iter().position(|spare| spare.bytes == bytes);
        let spare = found.and_then(|position| self.spares.remove(position));
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let spare = spare
            .ok_or_else(missing)
            .during("take disk", || format!("{bytes} bytes"))?;
        rustix::fs::renameat(&self.directory, &spare.name, sandbox, NAME)
            .during("name disk", || spare.name.clone())?;
        Ok(spare.mount)
    }

    /// The disk of a sandbox that is gone, as it is, but for what a power cut broke.
    pub fn open(&self, rooms: &Rooms, sandbox: &OwnedFd) -> Result<OwnedFd, StepError> {
        let found = rustix::fs::statat(sandbox, NAME, AtFlags::SYMLINK_NOFOLLOW)
            .during("find disk", || NAME.to_owned())?;
        if rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir() {
            return rooms.outside(|| mounts::copy(sandbox, NAME));
        }
        let unsupported = || std::io::Error::from(std::io::ErrorKind::Unsupported);
        let devices = self
            .devices
            .as_ref()
            .ok_or_else(unsupported)
            .during("open disk", || "no loop devices".to_owned())?;
        let file = rustix::fs::openat(
            sandbox,
            NAME,
            OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )
        .during("open disk", || NAME.to_owned())?;
        lock(&file)?;
        check::repair(rooms, &file)?;
        mount_image(devices, &file)
    }

    /// The disk of a sandbox that is gone, for another one to go on with.
    pub fn open_again(&self, rooms: &Rooms, sandbox: &OwnedFd) -> Result<OwnedFd, StepError> {
        let disk = self.open(rooms, sandbox)?;
        inherit::renew_work(&disk, self.identity)?;
        Ok(disk)
    }

    /// Removes spares of other sizes than is wanted.
    pub fn keep_spares_of(&mut self, bytes: u64) {
        let (keep, drop) = self.spares.drain(..).partition(|spare| spare.bytes == bytes);
        self.spares = drop;
        self.drop_spares();
        self.spares = keep;
    }

    /// Spares of an instance that is gone.
    pub fn remove_old_spares(&self) {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.directory) else {
            return;
        };
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_name().to_bytes().ends_with(b".spare"))
        {
            rustix::fs::unlinkat(&self.directory, entry.file_name(), AtFlags::empty()).ok();
        }
    }

    /// Removes the spares that nobody took.
    pub fn drop_spares(&mut self) {
        for spare in self.spares.drain(..) {
            rustix::fs::unlinkat(&self.directory, &spare.name, AtFlags::empty()).ok();
        }
    }
}

/// An image of its own, copied from a template.
fn make_image(
    devices: &LoopDevices,
    directory: &OwnedFd,
    name: &str,
    (template, bytes): (&OwnedFd, u64),
) -> Result<OwnedFd, StepError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))
        .during("make disk", || name.to_owned())?;
    let made = loop_device::copy_sparse(template, &file, bytes)
        .during("copy disk", || name.to_owned())
        .and_then(|()| lock(&file))
        .and_then(|()| mount_image(devices, &file));
    if made.is_err() {
        rustix::fs::unlinkat(directory, name, AtFlags::empty()).ok();
    }
    made
}

fn mount_image(devices: &LoopDevices, file: &OwnedFd) -> Result<OwnedFd, StepError> {
    let device = devices.attach(file)?;
    let source = format!("/proc/self/fd/{}", crate::sys::number_of(&device));
    let options = [
        ("source", source.as_str()),
        ("discard", ""),
        ("noinit_itable", ""),
        ("errors", "remount-ro"),
    ];
    mounts::new(
        "ext4",
        &options,
        Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_NOATIME,
    )
}

/// How long the last user of an image may take to let go of it.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// Held by whoever has the file open, which a loop device does as long as it is in use.
fn lock(file: &OwnedFd) -> Result<(), StepError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            locked => return locked.during("lock disk", || "it is still in use".to_owned()),
        }
    }
}

/// A path that means this file and no other, also for a child that runs another program.
fn path_of(file: &OwnedFd) -> PathBuf {
    let own = rustix::process::getpid().as_raw_nonzero();
    format!("/proc/{own}/fd/{}", crate::sys::number_of(file)).into()
}

fn make_directory(
    rooms: &Rooms,
    sandbox: &OwnedFd,
    (identity, mode): (Identity, Mode),
) -> Result<OwnedFd, StepError> {
    rustix::fs::mkdirat(sandbox, NAME, mode).during("make disk", || NAME.to_owned())?;
    let disk = rooms.outside(|| mounts::copy(sandbox, NAME))?;
    lay_out(&disk, identity)?;
    Ok(disk)
}

/// The upper directory of the workspace as a mount of its own. The disk is attached only while it is copied.
pub fn workspace_changes(disk: &OwnedFd) -> Result<OwnedFd, StepError> {
    const PLACE: &str = "/layers/disk";
    mounts::attach(disk, PLACE)?;
    let changes = mounts::copy(CWD, &format!("{PLACE}/workspace/upper"));
    mounts::detach(PLACE).and(changes)
}

/// Whether a sandbox came so far as to have a disk; before that it has no changes either.
pub fn is_there(sandboxes: &OwnedFd, id: &str) -> bool {
    let is_missing = |path: &str| {
        let found = rustix::fs::statat(sandboxes, format!("{id}/{path}"), AtFlags::SYMLINK_NOFOLLOW);
        found.is_err_and(|errno| matches!(errno, rustix::io::Errno::NOENT))
    };
    // An image has its name when it is whole; below one there is nothing to be missing.
    !is_missing(NAME) && !is_missing(&format!("{NAME}/workspace/upper"))
}

/// Whether a directory has an entry of this name, whatever it is.
pub fn has_entry(directory: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Removes a directory with all that is in it. Nothing there is fine. Follows no link: the parent is given by its
/// descriptor, and the standard library looks at each name once.
pub fn remove_tree(parent: &OwnedFd, name: &str) -> Result<(), StepError> {
    let path = format!("/proc/self/fd/{}/{name}", crate::sys::number_of(parent));
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).during("remove files", || name.to_owned())
        }
        _ => Ok(()),
    }
}

/// Makes the directories of a new disk.
fn lay_out(disk: &OwnedFd, identity: Identity) -> Result<(), StepError> {
    for (name, owner) in LAYOUT {
        let owner = owner.number(identity);
        rustix::fs::mkdirat(disk, name, Mode::from_raw_mode(0o755))
            .during("lay out disk", || name.to_owned())?;
        let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
        rustix::fs::chownat(disk, name, Some(user), Some(group), AtFlags::empty())
            .during("give away directory", || name.to_owned())?;
    }
    Ok(())
}

/// Makes the disk's directory in the data directory, if it is not there.
pub fn directory(data: &OwnedFd, name: &str) -> Result<OwnedFd, StepError> {
    match rustix::fs::mkdirat(data, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno).during("make directory", || name.to_owned()),
    }
    rustix::fs::openat(
        data,
        name,
        OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
    .during("open directory", || name.to_owned())
}

/// The same, refused where somebody else could have put there what is in it. With a group that may pass through it.
pub fn trusted_directory(data: &OwnedFd, name: &str, passing: Option<u32>) -> Result<OwnedFd, StepError> {
    let opened = directory(data, name)?;
    let found = rustix::fs::fstat(&opened).during("read directory", || name.to_owned())?;
    let own = rustix::process::geteuid().as_raw();
    if found.st_uid != own || found.st_mode & 0o022 != 0 {
        return Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied))
            .during("trust directory", || {
                format!("{name} must belong to user {own} alone")
            });
    }
    if let Some(group) = passing {
        rustix::fs::fchown(&opened, None, Some(Gid::from_raw(group)))
            .and_then(|()| rustix::fs::fchmod(&opened, Mode::from_raw_mode(0o710)))
            .during("open directory to the server", || name.to_owned())?;
    }
    Ok(opened)
}

/// The data directory's own handle.
pub fn open_directory(path: &Path) -> Result<OwnedFd, StepError> {
    rustix::fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .during("open directory", || path.display().to_string())
}
