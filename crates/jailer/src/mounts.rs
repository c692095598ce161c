//! Mounts as descriptors: made detached, given attributes, then attached. A detached mount is gone when its descriptor
//! is closed, so nothing can be left behind.

use crate::error::{During as _, StepError};
use crate::sys;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

pub use rustix::mount::MountAttrFlags as Attributes;

/// A file system of a kind, with options; an option without a value is a flag.
pub fn new(kind: &str, options: &[(&str, &str)], attributes: Attributes) -> Result<OwnedFd, StepError> {
    let make = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            if value.is_empty() {
                fsconfig_set_flag(&context, *key)?;
            } else {
                fsconfig_set_string(&context, *key, *value)?;
            }
        }
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make().during("mount", || format!("{kind} with {options:?}"))
}

/// A detached copy of the mount at a path, without what is mounted below it.
pub fn copy(base: impl AsFd, path: &str) -> Result<OwnedFd, StepError> {
    copy_with(base, path, OpenTreeFlags::empty())
}

/// The same with what is mounted below it.
pub fn copy_recursively(base: impl AsFd, path: &str) -> Result<OwnedFd, StepError> {
    copy_with(base, path, OpenTreeFlags::AT_RECURSIVE)
}

fn copy_with(base: impl AsFd, path: &str, flags: OpenTreeFlags) -> Result<OwnedFd, StepError> {
    let flags = flags
        | OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    open_tree(base, path, flags).during("copy mount", || path.to_owned())
}

/// Puts a detached mount at a path of this process's root.
pub fn attach(mount: impl AsFd, target: &str) -> Result<(), StepError> {
    move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .during("attach mount", || target.to_owned())
}

/// Moves a mount with all below it from one path to another.
pub fn relocate(from: &str, to: &str) -> Result<(), StepError> {
    move_mount(CWD, from, CWD, to, MoveMountFlags::empty()).during("move mount", || format!("{from} to {to}"))
}

pub fn detach(target: &str) -> Result<(), StepError> {
    unmount(target, UnmountFlags::DETACH).during("detach mount", || target.to_owned())
}

pub fn add_attributes(mount: impl AsFd, attributes: Attributes) -> Result<(), StepError> {
    sys::set_mount_attributes(mount.as_fd(), u64::from(attributes.bits()), 0, None)
        .during("set mount attributes", || format!("{attributes:?}"))
}

/// Shows the owners of files as a user namespace maps them.
pub fn map_ids(mount: impl AsFd, user_namespace: impl AsFd, what: &str) -> Result<(), StepError> {
    sys::set_mount_id_map(mount.as_fd(), user_namespace.as_fd()).during("map owners of mount", || {
        format!(
            "{what}: its file system must be able to, as ext4, xfs and btrfs are, and tmpfs from Linux 6.3 on"
        )
    })
}
