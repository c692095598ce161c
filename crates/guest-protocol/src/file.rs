//! Entries of a directory in the sandbox.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Without its directory; bytes that are not UTF-8 are replaced.
    pub name: String,
    pub kind: FileKind,
    pub size: u64,
    /// Permission bits, without the file type.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other,
}
