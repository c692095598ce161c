//! The two mount namespaces that the jailer lives in.
//!
//! The *outer* one is a copy of the host's, which follows it: paths of the user are looked up there. The *inner* one has
//! a handful of mounts: shells are cloned from it, because each mount makes that slower, and what they see before
//! they have a root of their own is only this. No sandbox's mount is ever attached in either for longer than a call.
//!
//! ```text
//! /            tmpfs            /image       the host image, read-only
//! /proc        fresh            /usr         the machine's
//! /dev         six devices      /prepared    where shells put their /proc and /dev
//! /root        a sandbox's      /layers      where shells put the layers of overlays
//! ```

use crate::devices;
use crate::error::{During as _, StepError};
use crate::machine::Identity;
use crate::mounts::{self, Attributes};
use crate::sys;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

const DIRECTORIES: [&str; 13] = [
    "dev",
    "empty",
    "image",
    "layers",
    "layers/disk",
    "layers/image",
    "layers/workspace",
    "prepared",
    "prepared/dev",
    "prepared/proc",
    "proc",
    "root",
    "usr",
];

#[derive(Debug)]
pub struct Rooms {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Rooms {
    /// Enters the inner room for good. `unshare(NEWNS)` of the outer one has been done.
    pub fn build(image: &OwnedFd, identity: Identity) -> Result<Self, StepError> {
        mount_change(
            "/",
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        )
        .during("follow the host's mounts", || "/".to_owned())?;
        let outer = namespace()?;
        let usr = mounts::copy(CWD, "/usr")?;
        let image_mount = mounts::copy(image, "")?;
        mounts::add_attributes(
            &image_mount,
            Attributes::MOUNT_ATTR_RDONLY | Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV,
        )?;
        let nodes = if identity == Identity::Ranges {
            Vec::new()
        } else {
            devices::of_machine()?
        };
        let proc = match identity {
            Identity::Ranges => mounts::new(
                "proc",
                &[],
                Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_NOEXEC,
            )?,
            _ => mounts::copy_recursively(CWD, "/proc")?,
        };

        sys::unshare(UnshareFlags::NEWNS).during("make mount namespace", String::new)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .during("make mounts private", || "/".to_owned())?;
        let base = mounts::new(
            "tmpfs",
            &[("mode", "0755"), ("size", "1048576")],
            Attributes::MOUNT_ATTR_NOSUID,
        )?;
        // Any directory does: it is covered in this namespace only, and left at once.
        mounts::attach(&base, "/dev")?;
        rustix::process::chdir("/dev").during("enter", || "inner room".to_owned())?;
        for name in DIRECTORIES {
            std::fs::create_dir(name).during("make directory", || name.to_owned())?;
        }
        devices::fill("dev", &nodes)?;
        mounts::attach(&usr, "usr")?;
        mounts::attach(&image_mount, "image")?;
        mounts::attach(&proc, "proc")?;
        rustix::process::pivot_root(".", ".").during("pivot root", String::new)?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).during("detach old root", String::new)?;
        rustix::process::chdir("/").during("enter", || "/".to_owned())?;
        Ok(Self {
            outer,
            inner: namespace()?,
        })
    }

    /// Does something where the host's paths are, then comes back.
    ///
    /// A jailer that cannot come back would clone sandboxes from the host's mounts, so it ends instead.
    pub fn outside<T>(&self, action: impl FnOnce() -> Result<T, StepError>) -> Result<T, StepError> {
        enter(&self.outer).during("enter mount namespace", || "the host's".to_owned())?;
        let result = action();
        if enter(&self.inner).is_err() {
            sys::exit_now(70);
        }
        result
    }
}

fn enter(namespace: &OwnedFd) -> rustix::io::Result<()> {
    use rustix::fd::AsFd as _;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
}

fn namespace() -> Result<OwnedFd, StepError> {
    rustix::fs::openat(
        CWD,
        "/proc/self/ns/mnt",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .during("open namespace", || "mount".to_owned())
}
