//! What an agent changed in its workspace, as the reader of a dead sandbox's files reports it.
//!
//! The reader walks the upper directory of the workspace's overlay, parents before children, and reports what is there.
//! It knows nothing of the workspace below: whether a file is new is for the host to find out. Paths are hostile.

use serde::{Deserialize, Serialize};

/// One entry of the upper directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Relative to the workspace, never empty, without `.` and `..`; as bytes in base 64 where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    pub kind: ChangeKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A whiteout: what is below this name is gone.
    Removed,
    /// `copied_up`: the overlay says that it came from a file below, not from nothing.
    File {
        size: u64,
        mode: u32,
        copied_up: bool,
    },
    /// `opaque`: what is below this directory is gone.
    Directory {
        mode: u32,
        opaque: bool,
    },
    Symlink {
        target: String,
    },
    /// A socket, a fifo or a device: never applied.
    Special,
}

impl Change {
    /// The path's bytes; nothing if it is missing or not base 64.
    pub fn path_bytes(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        match (&self.path, &self.path_base64) {
            (Some(path), _) => Some(path.clone().into_bytes()),
            (None, Some(encoded)) => base64::engine::general_purpose::STANDARD.decode(encoded).ok(),
            (None, None) => None,
        }
    }
}
