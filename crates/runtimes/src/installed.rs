//! What is installed: a directory a version, each with the executable and what is known of where it came from.
//!
//! A version is whole or not there: it is made elsewhere, written through to the disk, and renamed to its name.

use crate::file::{FileError, remove, replace};
use crate::version::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use time::OffsetDateTime;

const EXECUTABLE: &str = "claude";
const ABOUT: &str = "about.json";
const FORMAT: u32 = 1;

/// Where a version came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Registry {
        /// The address of the registry, without credentials.
        registry: String,
        package: String,
    },
    File {
        path: PathBuf,
    },
}

/// Of one version, as `about.json` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub format: u32,
    pub version: Version,
    /// Of the executable, in bytes.
    pub size: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub installed_at: OffsetDateTime,
    pub origin: Origin,
    /// `sha512-…` of the archive, or of the executable where that is what was given.
    pub integrity: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} is damaged: {reason}; remove this version and install it again")]
    About { path: PathBuf, reason: String },
}

/// The versions below one directory.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    root: PathBuf,
}

/// A version that is being made.
pub(crate) struct Making {
    directory: TempDir,
}

impl Shelf {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn directory(&self, version: &Version) -> PathBuf {
        self.root.join(version.to_string())
    }

    pub(crate) fn executable(&self, version: &Version) -> PathBuf {
        self.directory(version).join(EXECUTABLE)
    }

    pub(crate) fn has(&self, version: &Version) -> bool {
        self.executable(version).is_file()
    }

    pub(crate) fn versions(&self) -> Result<BTreeSet<Version>, FileError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(FileError::reading(&self.root)(error)),
        };
        let mut versions = BTreeSet::new();
        for entry in entries {
            let entry = entry.map_err(FileError::reading(&self.root))?;
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.parse().ok());
            // Names that are written in another way are not ours.
            let ours = version.filter(|version: &Version| *name == *version.to_string() && self.has(version));
            versions.extend(ours);
        }
        Ok(versions)
    }

    pub(crate) fn about(&self, version: &Version) -> Result<About, InstalledError> {
        let path = self.directory(version).join(ABOUT);
        let text = std::fs::read(&path).map_err(FileError::reading(&path))?;
        let damaged = |reason: String| InstalledError::About {
            path: path.clone(),
            reason,
        };
        let about: About = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if about.format == FORMAT && about.version == *version {
            Ok(about)
        } else {
            Err(damaged(format!(
                "it is of format {} and version {}",
                about.format, about.version
            )))
        }
    }

    /// Takes the version's name away first, so that it is never there in part.
    pub(crate) fn remove(&self, version: &Version, making: &Path) -> Result<(), FileError> {
        let grave = tempfile::Builder::new()
            .prefix("removed-")
            .tempdir_in(making)
            .map_err(FileError::writing(making))?;
        let directory = self.directory(version);
        let removed = std::fs::rename(&directory, grave.path().join(version.to_string()));
        removed.map_err(|source| FileError::Remove {
            path: directory,
            source,
        })?;
        self.sync()?;
        // An installation may be clearing it away already.
        remove(&grave.keep())
    }

    fn sync(&self) -> Result<(), FileError> {
        let synced = File::open(&self.root).and_then(|root| root.sync_all());
        synced.map_err(FileError::writing(&self.root))
    }
}

impl Making {
    pub(crate) fn begin(directory: &Path) -> Result<Self, FileError> {
        let made = tempfile::Builder::new().prefix("making-").tempdir_in(directory);
        Ok(Self {
            directory: made.map_err(FileError::writing(directory))?,
        })
    }

    pub(crate) fn executable(&self) -> PathBuf {
        self.directory.path().join(EXECUTABLE)
    }

    pub(crate) fn create(&self) -> Result<File, FileError> {
        let path = self.executable();
        let mut options = File::options();
        let created = options.create_new(true).write(true).open(&path);
        created.map_err(FileError::writing(&path))
    }

    /// Gives the version its name. All sandboxes share this one file, so nobody may write to it any more.
    pub(crate) fn finish(
        self,
        among: &Shelf,
        version: Version,
        origin: Origin,
        integrity: String,
    ) -> Result<About, InstalledError> {
        let path = self.executable();
        let sealed = File::open(&path).and_then(|file| {
            file.set_permissions(Permissions::from_mode(0o555))?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        });
        let about = About {
            format: FORMAT,
            version,
            size: sealed.map_err(FileError::writing(&path))?,
            installed_at: OffsetDateTime::now_utc(),
            origin,
            integrity,
        };
        let about_path = self.directory.path().join(ABOUT);
        let text = serde_json::to_vec_pretty(&about).map_err(|error| InstalledError::About {
            path: about_path.clone(),
            reason: error.to_string(),
        })?;
        replace(&about_path, &text)?;
        let made = self.directory.path();
        std::fs::set_permissions(made, Permissions::from_mode(0o755)).map_err(FileError::writing(made))?;
        let target = among.directory(&about.version);
        // A directory without an executable is what somebody left behind by hand.
        remove(&target)?;
        std::fs::rename(made, &target).map_err(FileError::writing(&target))?;
        // What it was made in is gone: there is nothing left to clear.
        let _ = self.directory.keep();
        among.sync()?;
        Ok(about)
    }
}
