//! Going on with the files of a destroyed sandbox: its disk becomes another's, by one rename.
//!
//! ```text
//! <old>/disk  --take-->  <shell>/disk, with <shell>/from -> <old>  --commit-->  <new>/disk, with <new>/from -> <old>
//!      ^                        | killed, or failed                                    | its answer was lost
//!      '------- give back ------+-------------------------------------------------------'
//! ```
//!
//! So at any moment one of the two has the files, and the link tells whose they were without a record that a power cut
//! could tear.

use super::{LAYOUT, NAME, has_entry};
use crate::error::{During as _, StepError};
use crate::machine::Identity;
use crate::{registry, request};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::process::{Gid, Uid};

/// Names the sandbox whose disk it was.
const FROM: &str = "from";

/// Gives the disk of sandbox `old` to the directory of a shell.
pub fn take(sandboxes: &OwnedFd, old: &str, shell: &OwnedFd) -> Result<(), StepError> {
    rustix::fs::symlinkat(old, shell, FROM).during("note whose files", || old.to_owned())?;
    let path = format!("{old}/{NAME}");
    rustix::fs::renameat_with(sandboxes, path, shell, NAME, RenameFlags::NOREPLACE)
        .during("take over files", || old.to_owned())
}

/// Gives a disk back to the sandbox whose it was. One that was nobody's stays.
pub fn give_back(sandboxes: &OwnedFd, name: &str) -> Result<(), StepError> {
    let Some(old) = origin(sandboxes, name) else {
        return Ok(());
    };
    let path = format!("{name}/{NAME}");
    if !has_entry(sandboxes, &path) {
        return Ok(());
    }
    match rustix::fs::mkdirat(sandboxes, &old, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno).during("make directory", || old),
    }
    let back = format!("{old}/{NAME}");
    rustix::fs::renameat_with(sandboxes, path, sandboxes, back, RenameFlags::NOREPLACE)
        .during("give back files", || old)
}

/// The sandbox that took the files of `old`, where `old` has none.
pub fn taker(sandboxes: &OwnedFd, old: &str) -> Option<String> {
    if has_entry(sandboxes, &format!("{old}/{NAME}")) {
        return None;
    }
    registry::names(sandboxes)
        .into_iter()
        .filter(|name| has_entry(sandboxes, &format!("{name}/{NAME}")))
        .find(|name| origin(sandboxes, name).as_deref() == Some(old))
}

/// Makes durable who has the files, and removes the directory that has them no more.
pub fn settle(sandboxes: &OwnedFd, old: &str) -> Result<(), StepError> {
    rustix::fs::fsync(sandboxes).during("write directory", || "sandboxes".to_owned())?;
    // Whose files they were before is no longer of interest, and what else is there stays.
    rustix::fs::unlinkat(sandboxes, format!("{old}/{FROM}"), AtFlags::empty()).ok();
    rustix::fs::unlinkat(sandboxes, old, AtFlags::REMOVEDIR).ok();
    Ok(())
}

fn origin(sandboxes: &OwnedFd, name: &str) -> Option<String> {
    let target = rustix::fs::readlinkat(sandboxes, format!("{name}/{FROM}"), Vec::new()).ok()?;
    let old = target.into_string().ok()?;
    request::check_id(&old).is_ok().then_some(old)
}

/// Makes the directories anew that an overlay works in: what is there is of the one before, which takes it for its own.
pub(super) fn renew_work(disk: &OwnedFd, identity: Identity) -> Result<(), StepError> {
    for (path, owner) in LAYOUT.iter().filter(|(path, _)| path.ends_with("/work")) {
        super::remove_tree(disk, path)?;
        rustix::fs::mkdirat(disk, *path, Mode::from_raw_mode(0o755))
            .during("lay out disk", || (*path).to_owned())?;
        let owner = owner.number(identity);
        let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
        rustix::fs::chownat(disk, *path, Some(user), Some(group), AtFlags::empty())
            .during("give away directory", || (*path).to_owned())?;
    }
    Ok(())
}
