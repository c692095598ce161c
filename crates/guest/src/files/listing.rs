//! The entries of a directory, at most [`MAX_ENTRIES`] of them.

use super::Opened;
use guest_protocol::FileEntry;
use guest_protocol::file::FileKind;
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

pub(super) const MAX_ENTRIES: usize = 100_000;

/// By name. Fails with `EOVERFLOW` where there are too many. An entry that vanishes meanwhile is left out.
pub(super) fn entries(directory: &Opened) -> Result<Vec<FileEntry>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let status = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            result => result?,
        };
        if entries.len() == MAX_ENTRIES {
            return Err(Errno::OVERFLOW);
        }
        entries.push(FileEntry {
            name: name.to_string_lossy().into_owned(),
            kind: match FileType::from_raw_mode(status.st_mode) {
                FileType::RegularFile => FileKind::File,
                FileType::Directory => FileKind::Directory,
                FileType::Symlink => FileKind::Symlink,
                _ => FileKind::Other,
            },
            size: status.st_size.cast_unsigned(),
            mode: status.st_mode & 0o7777,
            modified: status.st_mtime,
        });
    }
    entries.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(entries)
}
