//! The root directory of the sandbox: put together below [`NEW_ROOT`], then made the root.

use crate::error::{During as _, StepError};
use crate::mounts::{self, Attributes};
use crate::shell::{Part, Parts};
use crate::{devices, proc_files};
use rustix::fd::OwnedFd;
use rustix::fs::CWD;
use rustix::mount::UnmountFlags;

/// Where the root is put together.
const NEW_ROOT: &str = "/root";
/// An empty directory of the jailer's own, to cover others with: its mount tells nothing of the host.
pub const EMPTY: &str = "/empty";
/// Where a reader sees the files of a destroyed sandbox.
pub const CHANGES: &str = ".hostler/changes";

/// Where a sandbox sees the program that plays its agent, if it is not ours.
pub const RUNTIME: &str = ".hostler/runtime";

/// A path below the new root.
pub fn path(relative: &str) -> String {
    format!("{NEW_ROOT}/{relative}")
}

/// A mount or socket that came from the jailer.
pub fn take(parts: &mut Parts, part: Part) -> Result<OwnedFd, StepError> {
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    parts
        .remove(&part)
        .ok_or_else(missing)
        .during("take", || format!("{part:?}"))
}

/// Puts the mount that came as `part` at a path below the new root.
pub fn attach(parts: &mut Parts, part: Part, relative: &str) -> Result<(), StepError> {
    mounts::attach(take(parts, part)?, &path(relative))
}

/// The machine's programs, without those that only this machine has.
pub fn attach_usr(parts: &mut Parts) -> Result<(), StepError> {
    attach(parts, Part::Usr, "usr")?;
    cover(&path("usr/local"))
}

pub fn mask_workspace(relative: &[String]) -> Result<(), StepError> {
    relative
        .iter()
        .try_for_each(|masked| cover(&path(&format!("workspace/{masked}"))))
}

/// Hides a directory behind an empty one, if it is there.
fn cover(target: &str) -> Result<(), StepError> {
    if rustix::fs::access(target, rustix::fs::Access::EXISTS).is_err() {
        return Ok(());
    }
    let empty = mounts::copy(CWD, EMPTY)?;
    mounts::add_attributes(
        &empty,
        Attributes::MOUNT_ATTR_RDONLY | Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV,
    )?;
    mounts::attach(&empty, target)
}

pub fn attach_kernel_files() -> Result<(), StepError> {
    mounts::relocate(proc_files::PREPARED, &path("proc"))?;
    mounts::relocate(devices::PREPARED, &path("dev"))
}

/// Makes the new root the root and lets go of the old one.
pub fn pivot() -> Result<(), StepError> {
    rustix::process::chdir(NEW_ROOT).during("enter", || NEW_ROOT.to_owned())?;
    rustix::process::pivot_root(".", ".").during("pivot root", String::new)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).during("detach old root", String::new)?;
    rustix::process::chdir("/").during("enter", || "/".to_owned())
}
