//! What the jailer builds with: this machine's means, opened once.

use crate::cgroup::layout::Layout;
use crate::cgroup::{Cgroups, Controller};
use crate::disk::{self, Disks, LoopDevices};
use crate::error::{During as _, StepError};
use crate::identity::{self, Holder};
use crate::machine::{DiskMeans, Identity, Machine};
use crate::protocol::Hello;
use crate::registry::Registry;
use crate::rooms::Rooms;
use crate::{reclaim, sys};
use rustix::fd::OwnedFd;
use rustix::thread::UnshareFlags;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Workshop {
    pub machine: Machine,
    pub cgroups: Cgroups,
    pub registry: Option<Registry>,
    pub disks: Disks,
    pub rooms: Rooms,
    /// `DATA/sandboxes`.
    pub sandboxes: OwnedFd,
    pub sandboxes_path: PathBuf,
    /// To be reaped.
    pub holders: Vec<Holder>,
    /// For names of shells.
    pub next: u64,
    layout: Layout,
    instance: String,
}

const SYS_ADMIN: u64 = 1 << 21;

impl Workshop {
    /// Opens everything that lies outside, reclaims what a dead instance left, then enters the inner room for good.
    pub fn open(hello: &Hello) -> Result<Self, StepError> {
        let root = rustix::process::geteuid().is_root()
            && sys::effective_capabilities().is_ok_and(|have| have & SYS_ADMIN != 0);
        let layout = if root {
            layout_of_machine()
        } else {
            delegated_layout()
        };
        let identity = if root {
            sys::unshare(UnshareFlags::NEWNS)
                .during("make mount namespace", || "is this a container?".to_owned())?;
            Identity::Ranges
        } else {
            identity::become_root_of_a_namespace()?
        };
        let data = disk::open_directory(&hello.data)?;
        let sandboxes = disk::directory(&data, "sandboxes")?;
        reclaim::take_over(&sandboxes)?;
        let registry = root.then(|| Registry::open(&hello.instance)).transpose()?;
        if let Some(registry) = &registry {
            reclaim::dead_instances(registry, &layout, &hello.instance);
        }
        reclaim::sockets(&sandboxes);
        let cgroups = Cgroups::open(&layout, &hello.instance).unwrap_or_default();
        let (devices, disk_reason) = loop_devices(root);
        let means = if devices.is_some() {
            DiskMeans::Loop
        } else {
            DiskMeans::Directory
        };
        let disks = Disks::new((means, identity), devices, &data, &hello.data)?;
        disks.remove_old_spares();
        let machine = Machine {
            identity,
            has_cgroups: cgroups.freezes(),
            limits_pids: cgroups.limits(Controller::Pids),
            disk: means,
            disk_reason,
            landlock: sys::landlock_version(),
        };
        let rooms = Rooms::build(&hello.image, identity)?;
        let sandboxes_path = hello.data.join("sandboxes");
        let instance = hello.instance.clone();
        Ok(Self {
            machine,
            cgroups,
            registry,
            disks,
            rooms,
            sandboxes,
            sandboxes_path,
            holders: Vec::new(),
            next: 0,
            layout,
            instance,
        })
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
    /// Leaves nothing of this instance but its files, however its jailer ends short of being killed.
    fn drop(&mut self) {
        self.disks.drop_spares();
        let (layout, instance) = (&self.layout, &self.instance);
        let gone = self
            .rooms
            .outside(|| Ok(reclaim::remove_groups(layout, instance)));
        // Where something stays, the entry does too, and the next start does it.
        if let (Some(registry), Ok(true)) = (self.registry.take(), gone) {
            registry.close();
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
