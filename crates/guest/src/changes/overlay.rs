//! What overlayfs writes beside a file in the upper directory (Documentation/filesystems/overlayfs.rst): the extended
//! attributes `user.overlay.*`, or `trusted.overlay.*`, which only a privileged reader sees.
//!
//! `origin`: copied up from below. `opaque`: `y` hides what is below (`x` only says that whiteouts inside are files).
//! `whiteout`: with an empty file, the name is removed. `metacopy`, `redirect`: the data, or the directory, is
//! elsewhere; the sandboxes' mounts never make them.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// The kernel's limit of a list of attributes.
const MAX_LIST: usize = 64 << 10;

const PREFIXES: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of its own")]
pub(super) struct Marks {
    pub(super) copied_up: bool,
    pub(super) opaque: bool,
    pub(super) whiteout: bool,
    pub(super) partial: bool,
}

pub(super) fn marks(fd: BorrowedFd<'_>) -> rustix::io::Result<Marks> {
    let mut list = [0; 1024];
    match rustix::fs::flistxattr(fd, &mut list) {
        Ok(length) => read(fd, &list[..length]),
        Err(Errno::RANGE) => {
            let mut list = vec![0; MAX_LIST];
            let length = rustix::fs::flistxattr(fd, &mut list[..])?;
            read(fd, &list[..length])
        }
        Err(Errno::OPNOTSUPP) => Ok(Marks::default()),
        Err(error) => Err(error),
    }
}

fn read(fd: BorrowedFd<'_>, list: &[u8]) -> rustix::io::Result<Marks> {
    let mut marks = Marks::default();
    for name in list.split(|byte| *byte == 0) {
        match PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix)) {
            Some(b"origin") => marks.copied_up = true,
            Some(b"whiteout") => marks.whiteout = true,
            Some(b"metacopy" | b"redirect") => marks.partial = true,
            Some(b"opaque") => {
                let mut value = [0; 8];
                let length = rustix::fs::fgetxattr(fd, name, &mut value)?;
                marks.opaque = &value[..length] == b"y";
            }
            _ => {}
        }
    }
    Ok(marks)
}
