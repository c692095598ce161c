//! What hostler itself touched in a workspace for a session. Putting a file back, or changing a directory's entries,
//! moves its change time; without this note the next attempt would take that for the user's doing.

use crate::disk::Disk;
use crate::path::RelativePath;
use crate::stamp::Stamp;
use domain::SessionId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    touched: Vec<(RelativePath, Stamp)>,
    #[serde(skip)]
    index: std::collections::HashMap<RelativePath, Stamp>,
}

fn path_of(data: &Path, session: &SessionId) -> PathBuf {
    data.join("applies").join(format!("touched-{session}.json"))
}

impl Ledger {
    /// The notes of a session; none where there are none or they cannot be read, which costs a needless conflict.
    pub(crate) fn load(data: &Path, session: &SessionId) -> Self {
        let read = fs::read(path_of(data, session)).ok();
        let mut ledger: Self = read
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default();
        ledger.index = ledger.touched.iter().cloned().collect();
        ledger
    }

    pub(crate) fn knows(&self, path: &RelativePath, stamp: &Stamp) -> bool {
        self.index.get(path) == Some(stamp)
    }

    pub(crate) fn note(&mut self, path: RelativePath, stamp: Stamp) {
        self.index.insert(path, stamp);
    }

    pub(crate) fn store(mut self, disk: &Disk, data: &Path, session: &SessionId) -> io::Result<()> {
        self.touched = self.index.drain().collect();
        let json = serde_json::to_vec(&self).map_err(io::Error::other)?;
        disk.replace_file(&path_of(data, session), &json)
    }
}

/// Forgets a session's notes; a removed session is not applied again.
pub fn forget(data: &Path, session: &SessionId) -> io::Result<()> {
    match fs::remove_file(path_of(data, session)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
