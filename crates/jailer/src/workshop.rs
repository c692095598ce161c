//! What the jailer builds with: this machine's means, opened once.

use crate::cgroup::layout::Layout;
use crate::cgroup::{Cgroups, Controller};
use crate::claim::Claim;
use crate::disk::{self, Disks, LoopDevices};
use crate::error::{During as _, StepError};
use crate::identity::{self, Holder};
use crate::machine::{DiskMeans, Identity, Machine};
use crate::record::Records;
use crate::registry::Registry;
use crate::rooms::Rooms;
use crate::shells::Shell;
use crate::user::User;
use crate::{adopt, reclaim, sys};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::thread::UnshareFlags;
use std::path::{Path, PathBuf};

/// Where and for whom a jailer works.
#[derive(Debug)]
pub struct Site {
    pub instance: String,
    pub data: PathBuf,
    pub image: Image,
    pub form: Form,
}

#[derive(Debug)]
pub enum Image {
    /// The client built it, and is trusted with its place.
    At(PathBuf),
    /// The jailer did: its name among the images of the host.
    Own(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Sandboxes end with the jailer.
    Child,
    /// Sandboxes outlive it. A user that its server runs as, where that is another one.
    Service(Option<User>),
}

impl Form {
    fn user(self) -> Option<User> {
        match self {
            Self::Child => None,
            Self::Service(user) => user,
        }
    }
}

/// Where a service has its images, below the data directory.
pub const IMAGES: &str = "images";
/// Those of the host, below [`IMAGES`].
pub const HOST: &str = "host";

#[derive(Debug)]
pub struct Workshop {
    pub machine: Machine,
    pub cgroups: Cgroups,
    pub registry: Option<Registry>,
    /// Where sandboxes outlive the jailer.
    pub records: Option<Records>,
    /// Whose server this jailer serves, where that is not who it runs as.
    pub user: Option<User>,
    pub disks: Disks,
    pub rooms: Rooms,
    /// The data directory.
    pub data: OwnedFd,
    /// `DATA/sandboxes`.
    pub sandboxes: OwnedFd,
    pub sandboxes_path: PathBuf,
    /// To be reaped.
    pub holders: Vec<Holder>,
    /// For names of shells.
    pub next: u64,
    layout: Layout,
    instance: String,
    /// On the directory of sandboxes; held for life.
    _lock: OwnedFd,
}

const SYS_ADMIN: u64 = 1 << 21;

/// Whether this process may do what root of the machine may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
        && sys::effective_capabilities().is_ok_and(|have| have & SYS_ADMIN != 0)
}

/// Takes the data directory, so that no other jailer works on it.
pub fn take(data: &Path) -> Result<OwnedFd, StepError> {
    let sandboxes = disk::directory(&disk::open_directory(data)?, "sandboxes")?;
    reclaim::take_over(&sandboxes)?;
    Ok(sandboxes)
}

impl Workshop {
    /// Opens everything that lies outside, reclaims what a dead instance left, then enters the inner room for good. With
    /// the sandboxes that go on.
    pub fn open(site: &Site, lock: OwnedFd) -> Result<(Self, Vec<Claim>), StepError> {
        let root = is_root();
        let layout = if root {
            layout_of_machine()
        } else {
            delegated_layout()
        };
        let registry = root
            .then(|| Registry::open(&site.instance, site.form != Form::Child))
            .transpose()?;
        let records = match site.form {
            Form::Child => None,
            Form::Service(_) => Some(open_records(registry.as_ref(), &site.data)?),
        };
        let identity = enter_namespaces(root, records.as_ref())?;
        let data = disk::open_directory(&site.data)?;
        let directories = Directories::open(&data, site.form)?;
        if let Some(registry) = &registry {
            reclaim::dead_instances(registry, &layout);
        }
        let cgroups = Cgroups::open(&layout, &site.instance).unwrap_or_default();
        let (devices, disk_reason) = loop_devices(root);
        let machine = Machine {
            identity,
            has_cgroups: cgroups.freezes(),
            limits_pids: cgroups.limits(Controller::Pids),
            disk: if devices.is_some() {
                DiskMeans::Loop
            } else {
                DiskMeans::Directory
            },
            disk_reason,
            landlock: sys::landlock_version(),
        };
        let sandboxes = directories.sandboxes;
        let survivors = records.as_ref().map_or_else(Vec::new, |records| {
            adopt::survivors(records, (&cgroups, &site.instance), &machine, &sandboxes)
        });
        reclaim_own(&survivors, (&cgroups, registry.as_ref()), &sandboxes);
        let user = site.form.user();
        let disks = Disks::new(
            (machine.disk, identity),
            devices,
            directories.disks,
            user.is_some(),
        );
        disks.remove_old_spares();
        let rooms = Rooms::build(&open_image(&data, &site.image)?, identity)?;
        let numbers = survivors.iter().map(|claim| Shell::number(&claim.shell.name));
        let workshop = Self {
            machine,
            cgroups,
            registry,
            records,
            user,
            disks,
            rooms,
            data,
            sandboxes,
            sandboxes_path: site.data.join("sandboxes"),
            holders: Vec::new(),
            next: numbers.max().unwrap_or(0),
            layout,
            instance: site.instance.clone(),
            _lock: lock,
        };
        Ok((workshop, survivors))
    }

    /// Reaps children that nobody waits for.
    pub fn reap_holders(&mut self) {
        for holder in self.holders.drain(..) {
            // It has nothing left to do but to end.
            identity::reap(&holder.child).ok();
        }
    }
}

impl Drop for Workshop {
    /// Leaves nothing of this instance but its files, however its jailer ends short of being killed. Where sandboxes
    /// outlive it, only when it was told to end them.
    fn drop(&mut self) {
        if self.records.as_ref().is_some_and(|records| !records.is_empty()) {
            return;
        }
        self.disks.drop_spares();
        let (layout, instance) = (&self.layout, &self.instance);
        let gone = self
            .rooms
            .outside(|| Ok(reclaim::remove_groups(layout, instance)));
        // A directory that is not there or has something in it stays as it is.
        if self.registry.is_none()
            && let Some(data) = self.sandboxes_path.parent()
        {
            self.rooms
                .outside(|| Ok(std::fs::remove_dir(data.join("records"))))
                .ok();
        }
        // Where something stays, the entry does too, and the next start does it.
        if let (Some(registry), Ok(true)) = (self.registry.take(), gone) {
            registry.close();
        }
    }
}

/// The jailer's own directories below the data directory.
struct Directories {
    sandboxes: OwnedFd,
    disks: OwnedFd,
}

impl Directories {
    fn open(data: &OwnedFd, form: Form) -> Result<Self, StepError> {
        let Form::Service(user) = form else {
            return Ok(Self {
                sandboxes: disk::directory(data, "sandboxes")?,
                disks: disk::directory(data, "disks")?,
            });
        };
        let passing = user.map(|user| user.gid);
        Ok(Self {
            sandboxes: disk::trusted_directory(data, "sandboxes", passing)?,
            disks: disk::trusted_directory(data, "disks", None)?,
        })
    }
}

fn open_records(registry: Option<&Registry>, data: &Path) -> Result<Records, StepError> {
    let directory = match registry {
        Some(registry) => registry.records()?,
        None => disk::directory(&disk::open_directory(data)?, "records")?,
    };
    Records::open(directory)
}

/// An ordinary user whose sandboxes live goes back to the namespace that owns theirs; only there it is their root.
fn enter_namespaces(root: bool, records: Option<&Records>) -> Result<Identity, StepError> {
    if root {
        sys::unshare(UnshareFlags::NEWNS)
            .during("make mount namespace", || "is this a container?".to_owned())?;
        return Ok(Identity::Ranges);
    }
    let written_down = records.map_or_else(Vec::new, Records::all);
    for (record, _) in written_down {
        if adopt::recognise(&record, None).is_some() && identity::enter_namespace_above(record.pid).is_ok() {
            return Ok(record.identity);
        }
    }
    identity::become_root_of_a_namespace()
}

/// What the last jailer of this instance left, but for what goes on.
fn reclaim_own(survivors: &[Claim], (cgroups, registry): (&Cgroups, Option<&Registry>), sandboxes: &OwnedFd) {
    let groups: Vec<_> = survivors.iter().map(|claim| claim.shell.name.as_str()).collect();
    let ranges: Vec<_> = survivors.iter().filter_map(|claim| claim.shell.range).collect();
    let names: Vec<_> = survivors.iter().map(Claim::id).collect();
    reclaim::own(cgroups, registry, (&groups, &ranges));
    reclaim::directories(sandboxes, &names);
}

/// By a descriptor, so that it is this image, whatever becomes of its path.
fn open_image(data: &OwnedFd, image: &Image) -> Result<OwnedFd, StepError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match image {
        Image::At(path) => rustix::fs::openat(CWD, path, flags | OFlags::NOFOLLOW, Mode::empty())
            .during("open image", || path.display().to_string()),
        Image::Own(name) => {
            let images = disk::trusted_directory(data, IMAGES, None)?;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(&images, format!("{HOST}/{name}"), flags, Mode::empty(), resolve)
                .during("open image", || name.clone())
        }
    }
}

fn mountinfo() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

fn layout_of_machine() -> Layout {
    Layout::of_machine(&mountinfo(), |path| {
        std::fs::read_to_string(path).unwrap_or_default()
    })
}

fn delegated_layout() -> Layout {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    Layout::delegated(&mountinfo(), &own, writable)
}

fn loop_devices(root: bool) -> (Option<LoopDevices>, String) {
    if !root {
        return (
            None,
            "an ordinary user cannot mount a disk of its own; run as root".to_owned(),
        );
    }
    if !disk::can_format() {
        return (None, "mkfs.ext4 is missing: install e2fsprogs".to_owned());
    }
    match LoopDevices::of_machine() {
        Ok(devices) => (Some(devices), String::new()),
        Err(error) => (None, format!("no loop devices here ({error})")),
    }
}
