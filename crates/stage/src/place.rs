//! Where a server keeps its things: a directory that is gone afterwards, unless it is kept to be looked at.

use crate::Failure;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Result<Self, Failure> {
        let failed = |source| Failure::File {
            path: std::env::temp_dir(),
            source,
        };
        let directory = tempfile::Builder::new()
            .prefix("hostler-bench-")
            .tempdir()
            .map_err(failed)?;
        // A server that was started as root reads it as another user.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(Self { directory })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// What the servers of this place log.
    pub fn log(&self) -> PathBuf {
        self.path().join("serve.log")
    }

    /// It stays.
    pub fn keep(self) -> PathBuf {
        self.directory.keep()
    }
}
