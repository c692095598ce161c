//! Copy-on-write directories: a lower layer that is never written, an upper one on the sandbox's disk.
//!
//! Layers are named by descriptor or by a path inside the jailer's own root, so `/proc/mounts` of a sandbox tells
//! nothing about the host. Extended attributes are the user's, so that a reader without capabilities understands them.

use crate::error::{During as _, StepError};
use crate::mounts::{self, Attributes};
use crate::sys;
use rustix::fd::OwnedFd;
use rustix::fs::CWD;

/// Where layers are attached while an overlay is made of them, on kernels that insist.
const DISK: &str = "/layers/disk";
const LOWER: &str = "/layers/lower";

/// An overlay whose upper and work directories are `<name>/upper` and `<name>/work` of the disk.
pub fn make(lower: &OwnedFd, disk: &OwnedFd, name: &str, detached_layers: bool) -> Result<OwnedFd, StepError> {
    if detached_layers {
        let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", sys::number_of(fd));
        return mount(&path(lower), &path(disk), name);
    }
    mounts::attach(lower, LOWER)?;
    let overlay = mounts::attach(disk, DISK).and_then(|()| {
        let overlay = mount(LOWER, DISK, name);
        mounts::detach(DISK).and(overlay)
    });
    mounts::detach(LOWER).and(overlay)
}

fn mount(lower: &str, disk: &str, name: &str) -> Result<OwnedFd, StepError> {
    let (upper, work) = (format!("{disk}/{name}/upper"), format!("{disk}/{name}/work"));
    let options = [
        ("source", "overlay"),
        ("lowerdir", lower),
        ("upperdir", &upper),
        ("workdir", &work),
        // Nothing is synced when it goes: the disk is, by whoever keeps it.
        ("volatile", ""),
        ("userxattr", ""),
        ("redirect_dir", "nofollow"),
        ("metacopy", "off"),
    ];
    mounts::new("overlay", &options, Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV)
        .map_err(|error| StepError { step: "mount overlay", what: format!("{name} ({})", error.what), ..error })
}

/// The upper directory of a disk as a mount of its own.
pub fn upper(disk: &OwnedFd, name: &str) -> Result<OwnedFd, StepError> {
    mounts::attach(disk, DISK)?;
    let upper = mounts::copy(CWD, &format!("{DISK}/{name}/upper"));
    mounts::detach(DISK).and(upper)
}

/// Whether this kernel makes an overlay of layers that are attached nowhere.
pub fn takes_detached_layers() -> bool {
    let try_it = || -> Result<(), StepError> {
        let tmpfs = mounts::new("tmpfs", &[("size", "65536")], Attributes::MOUNT_ATTR_NOSUID)?;
        for name in ["probe", "probe/upper", "probe/work", "lower"] {
            rustix::fs::mkdirat(&tmpfs, name, rustix::fs::Mode::from_raw_mode(0o755))
                .during("probe", || name.to_owned())?;
        }
        make(&mounts::copy(&tmpfs, "lower")?, &tmpfs, "probe", true).map(drop)
    };
    try_it().is_ok()
}
