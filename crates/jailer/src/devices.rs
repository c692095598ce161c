//! `/dev` of the sandbox: six harmless devices shared read-only by all, terminals and shared memory of its own.

use crate::error::{During as _, StepError};
use crate::mounts::{self, Attributes};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode};

/// Where a shell keeps its `/dev` until it has a root.
pub const PREPARED: &str = "/prepared/dev";

const SHARED_MEMORY_BYTES: u64 = 256 << 20;

/// Name, major, minor.
const NODES: [(&str, u32, u32); 6] = [
    ("full", 1, 7),
    ("null", 1, 3),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills `target`, an empty directory of the jailer's own root, with what all sandboxes share.
///
/// Root makes the nodes; a user, who may not, binds the machine's from `found`, made by [`of_machine`].
pub fn fill(target: &str, found: &[(&'static str, OwnedFd)]) -> Result<(), StepError> {
    for (name, major, minor) in NODES {
        let path = format!("{target}/{name}");
        if let Some((_, mount)) = found.iter().find(|(one, _)| *one == name) {
            std::fs::write(&path, b"").during("make mount point", || path.clone())?;
            mounts::attach(mount, &path)?;
        } else {
            let mode = Mode::from_raw_mode(0o666);
            let device = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::CharacterDevice, mode, device)
                .during("make device", || path.clone())?;
            rustix::fs::chmod(&path, mode).during("set mode", || path.clone())?;
        }
    }
    for (name, aim) in LINKS {
        let path = format!("{target}/{name}");
        std::os::unix::fs::symlink(aim, &path).during("make link", || path)?;
    }
    ["pts", "shm"].into_iter().try_for_each(|name| {
        let path = format!("{target}/{name}");
        std::fs::create_dir(&path).during("make directory", || path)
    })
}

/// The machine's own nodes, each as a detached mount.
pub fn of_machine() -> Result<Vec<(&'static str, OwnedFd)>, StepError> {
    NODES
        .iter()
        .map(|(name, ..)| Ok((*name, mounts::copy(CWD, &format!("/dev/{name}"))?)))
        .collect()
}

/// In a shell: the shared devices, and its own terminals and shared memory.
pub fn mount() -> Result<(), StepError> {
    let shared = mounts::copy_recursively(CWD, "/dev")?;
    let read_only =
        Attributes::MOUNT_ATTR_RDONLY | Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC;
    mounts::add_attributes(&shared, read_only)?;
    mounts::attach(&shared, PREPARED)?;
    let attributes = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC;
    let terminals = mounts::new(
        "devpts",
        &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")],
        attributes,
    )?;
    mounts::attach(&terminals, &format!("{PREPARED}/pts"))?;
    let size = SHARED_MEMORY_BYTES.to_string();
    let memory = mounts::new(
        "tmpfs",
        &[("size", &size), ("mode", "1777"), ("nr_inodes", "16384")],
        attributes | Attributes::MOUNT_ATTR_NODEV,
    )?;
    mounts::attach(&memory, &format!("{PREPARED}/shm"))
}
