//! What the kernel says of an entry, as far as it tells whether someone changed it.

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub i64, pub u32);

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self(since.as_secs() as i64, since.subsec_nanos()),
            Err(_) => Self(0, 0),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    File,
    Directory,
    Symlink,
    Special,
}

/// The identity and state of one entry at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub kind: NodeKind,
    pub inode: u64,
    pub size: u64,
    /// Permission bits, without the file type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: Timestamp,
    pub changed: Timestamp,
}

impl Stamp {
    pub fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// Whether this is the same entry with the same content, whatever happened to its name. A directory's own times
    /// and size change with its entries, so for it the identity is all there is.
    pub fn same_content(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.inode == other.inode
            && (self.kind == NodeKind::Directory
                || (self.size == other.size && self.modified == other.modified))
    }
}

#[expect(
    clippy::unnecessary_cast,
    reason = "the types of stat's fields differ between architectures"
)]
impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => NodeKind::File,
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => NodeKind::Symlink,
            _ => NodeKind::Special,
        };
        Self {
            kind,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: Timestamp(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: Timestamp(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }
}
