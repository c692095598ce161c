//! Giving up root: a server that was started as root hands its data directory to another user, becomes that user, and
//! cannot come back.

use jailer::User;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Who the server becomes where the machine has no user `hostler`: nobody's, just below the users of sandboxes.
const NOBODY: u32 = (1 << 30) - 1;
/// What the jailer trusts, and keeps.
const JAILERS: [&str; 5] = ["disks", "images", "jailer.sock", "records", "sandboxes"];
/// The server's own directories are not this deep.
const DEEPEST: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    #[error("root must be given up before any thread is started; there are {threads}")]
    Threads { threads: usize },
    #[error("giving up root failed at {step}")]
    Step { step: &'static str, source: io::Error },
    #[error("root was given up, and could be taken back")]
    StillRoot,
    #[error("{path} cannot be handed to the server's user {user}", path = path.display())]
    HandOver {
        path: PathBuf,
        user: u32,
        source: io::Error,
    },
    #[error(
        "the server's user {user} cannot reach {path}: use a data directory elsewhere, as /var/lib/hostler is, or let others pass through it",
        path = path.display()
    )]
    Unreachable { path: PathBuf, user: u32 },
    #[error("{path} belongs to user {owner}, and neither to root nor to the server's user {user}", path = path.display())]
    Foreign { path: PathBuf, owner: u32, user: u32 },
}

/// Who a server that is started as root becomes: `hostler`, or nobody's number.
pub fn server_user() -> User {
    let named = User::named("hostler").filter(|user| user.uid != 0);
    named.unwrap_or(User {
        uid: NOBODY,
        gid: NOBODY,
    })
}

/// Gives a data directory of root's to the server's user, without what is the jailer's. Once it is that user's, nothing
/// in it is given away any more: it could be a link to anything.
pub fn hand_over(data: &Path, user: User) -> Result<(), PrivilegeError> {
    let failed = |source: io::Error| PrivilegeError::HandOver {
        path: data.to_owned(),
        user: user.uid,
        source,
    };
    for above in data.ancestors().skip(1) {
        let found = std::fs::metadata(above).map_err(failed)?;
        if found.mode() & 0o001 == 0 && found.uid() != user.uid {
            return Err(PrivilegeError::Unreachable {
                path: above.to_owned(),
                user: user.uid,
            });
        }
    }
    let directory = open(CWD, data).map_err(failed)?;
    let owner = rustix::fs::fstat(&directory)
        .map_err(|errno| failed(errno.into()))?
        .st_uid;
    match owner {
        0 => give(&directory, user, DEEPEST).map_err(failed),
        owner if owner == user.uid => Ok(()),
        owner => Err(PrivilegeError::Foreign {
            path: data.to_owned(),
            owner,
            user: user.uid,
        }),
    }
}

fn open(base: impl rustix::fd::AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(base, path, flags, Mode::empty())?)
}

/// The directory itself last: until then, nobody else can change what is in it.
fn give(directory: &OwnedFd, user: User, depth: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_jailers = depth == DEEPEST && JAILERS.iter().any(|one| one.as_bytes() == name.to_bytes());
        if is_jailers || matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory if depth > 0 => give(&open(directory, name)?, user, depth - 1)?,
            // A file with a second name is one that lies elsewhere, too.
            FileType::RegularFile if found.st_nlink == 1 => {
                rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            _ => {}
        }
    }
    Ok(rustix::fs::fchown(directory, uid, gid)?)
}

/// Becomes this user, for good: no group, no capability, and no program that could give one back. Of a process that has
/// one thread, which is all of it then.
pub fn give_up_root(user: User) -> Result<(), PrivilegeError> {
    let step = |step| {
        move |errno: rustix::io::Errno| PrivilegeError::Step {
            step,
            source: errno.into(),
        }
    };
    let threads = std::fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
    if threads != 1 {
        return Err(PrivilegeError::Threads { threads });
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    for capability in CapabilitySet::all().iter() {
        // Beyond the kernel's last one there is nothing to remove.
        rustix::thread::remove_capability_from_bounding_set(capability).ok();
    }
    rustix::thread::set_thread_groups(&[]).map_err(step("groups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(step("group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(step("user"))?;
    rustix::thread::clear_ambient_capability_set().map_err(step("ambient capabilities"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(step("capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(step("no_new_privs"))?;
    let back = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT);
    if user.uid != 0 && back.is_ok() {
        return Err(PrivilegeError::StillRoot);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_user_is_never_root() {
        assert_ne!(server_user().uid, 0);
    }

    #[test]
    fn a_process_of_many_threads_keeps_what_it_has() {
        let keep = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| keep.wait());
            let refused = give_up_root(User { uid: 0, gid: 0 });
            keep.wait();
            assert!(matches!(refused, Err(PrivilegeError::Threads { .. })));
        });
    }
}
