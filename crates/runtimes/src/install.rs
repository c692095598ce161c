//! One installation from beginning to end. One at a time on a machine: who waits finds it done.

use crate::archive::{self, ArchiveError};
use crate::download::{DownloadError, Part, sum};
use crate::file::{FileError, Lock, blocking, remove};
use crate::installed::{About, InstalledError, Making, Origin, Shelf};
use crate::platform::{ExecutableError, Platform};
use crate::progress::{Progress, Step};
use crate::registry::Registry;
use crate::release::{Release, ResolveError, integrity};
use crate::runtimes::Runtimes;
use crate::source::{self, SourceError};
use crate::state::StateError;
use crate::version::{Version, Wanted};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Asked for again and again, since a thread that waits in the kernel cannot be called back when the caller gives up.
const LOCK_POLL: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Executable(#[from] ExecutableError),
    #[error(transparent)]
    Installed(#[from] InstalledError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(
        "the archive of {package} {wanted} says it is version {found}: the registry mixes them up, so it was not installed"
    )]
    OtherVersion {
        package: String,
        wanted: Version,
        found: Version,
    },
    #[error("claude {version} is installed already: remove it first to replace it by {path}")]
    Exists { version: Version, path: PathBuf },
}

impl InstallError {
    /// Files could not be read or written, so that what was downloaded is as good as it was.
    fn is_of_this_machine(&self) -> bool {
        matches!(
            self,
            Self::File(_) | Self::Archive(ArchiveError::File(_)) | Self::Installed(InstalledError::File(_))
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub about: About,
    /// Not there before this call.
    pub is_new: bool,
}

/// Where an installation works.
#[derive(Clone)]
pub(crate) struct Workshop {
    shelf: Shelf,
    lock: PathBuf,
    partial: PathBuf,
    making: PathBuf,
}

impl Workshop {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            shelf: Shelf::new(root.to_owned()),
            lock: root.join("install.lock"),
            partial: root.join("partial"),
            making: root.join("making"),
        }
    }

    pub(crate) fn prepare(&self) -> Result<(), FileError> {
        for directory in [&self.partial, &self.making] {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(FileError::writing(directory))?;
        }
        Ok(())
    }

    pub(crate) fn making(&self) -> &Path {
        &self.making
    }

    /// Waits for its turn, and clears what an installation that did not end left behind.
    async fn enter(&self, part: Option<&Part>, progress: &dyn Progress) -> Result<Lock, FileError> {
        loop {
            let (workshop, part) = (self.clone(), part.cloned());
            let entered = blocking(move || {
                workshop.prepare()?;
                let lock = Lock::take(&workshop.lock)?;
                if lock.is_some() {
                    workshop.clear(part.as_ref())?;
                }
                Ok(lock)
            });
            if let Some(lock) = entered.await?? {
                return Ok(lock);
            }
            progress.at(Step::Waiting);
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    fn clear(&self, part: Option<&Part>) -> Result<(), FileError> {
        for directory in [&self.partial, &self.making] {
            let entries = std::fs::read_dir(directory).map_err(FileError::reading(directory))?;
            for entry in entries.flatten() {
                let path = entry.path();
                if part.is_none_or(|part| !part.is(&path)) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

impl Runtimes {
    /// Installs the version that the registry has for `wanted`, unless it is there. The first one becomes the default.
    pub async fn install(
        &self,
        registry: &Registry,
        wanted: &Wanted,
        progress: &dyn Progress,
    ) -> Result<Installation, InstallError> {
        if let Wanted::Exact(version) = wanted
            && let Some(there) = self.installation(version).await?
        {
            return Ok(there);
        }
        let platform = blocking(Platform::of_this_machine).await??;
        progress.at(Step::Resolving);
        let release = registry.release(wanted, platform).await?;
        if let Some(there) = self.installation(&release.version).await? {
            return Ok(there);
        }
        let part = Part::new(&self.workshop.partial, &release.version.to_string());
        let lock = self.workshop.enter(Some(&part), progress).await?;
        if let Some(there) = self.installation(&release.version).await? {
            return Ok(there);
        }
        registry.download(&release, &part, progress).await?;
        progress.at(Step::Unpacking);
        let origin = Origin::Registry {
            registry: registry.place().to_string(),
            package: release.package.clone(),
        };
        let (workshop, limit) = (self.workshop.clone(), registry.limits.executable_bytes);
        let archive = part.path().to_owned();
        let made = blocking(move || {
            // Held until the work is over, also where nobody waits for it any more.
            let _lock = lock;
            make(&workshop, &release, origin, (&archive, limit), platform)
        });
        let made = made.await?;
        // An archive that has the right sum and is no good stays no good. A disk that is full may not stay so.
        if !made.as_ref().is_err_and(InstallError::is_of_this_machine) {
            part.remove().await?;
        }
        self.settle(made?).await
    }

    /// Installs an archive of npm, or the bare executable. The version is read from it where it is not given.
    pub async fn install_file(
        &self,
        path: &Path,
        version: Option<Version>,
        limits: crate::Limits,
        progress: &dyn Progress,
    ) -> Result<Installation, InstallError> {
        let lock = self.workshop.enter(None, progress).await?;
        progress.at(Step::Unpacking);
        let (workshop, path) = (self.workshop.clone(), path.to_owned());
        let made = blocking(move || {
            let _lock = lock;
            let platform = Platform::of_this_machine()?;
            let making = Making::begin(&workshop.making)?;
            let (file, target) = (making.create()?, making.executable());
            let limit = limits.executable_bytes;
            let version = source::take(&path, (&file, &target), version.as_ref(), limit)?;
            drop(file);
            platform.check(&target)?;
            if workshop.shelf.has(&version) {
                return Err(InstallError::Exists { version, path });
            }
            let integrity = sum(&path)?;
            Ok(making.finish(&workshop.shelf, version, Origin::File { path }, integrity)?)
        });
        let made = made.await??;
        self.settle(made).await
    }

    async fn settle(&self, about: About) -> Result<Installation, InstallError> {
        let (runtimes, version) = (self.clone(), about.version.clone());
        let settled = blocking(move || {
            runtimes.state.change(|channel| {
                channel.settle_on(&version);
                Ok::<_, StateError>(())
            })
        });
        settled.await??;
        Ok(Installation { about, is_new: true })
    }

    async fn installation(&self, version: &Version) -> Result<Option<Installation>, InstallError> {
        let (workshop, version) = (self.workshop.clone(), version.clone());
        let found = blocking(move || {
            if !workshop.shelf.has(&version) {
                return Ok(None);
            }
            let about = workshop.shelf.about(&version)?;
            Ok(Some(Installation { about, is_new: false }))
        });
        found.await?
    }
}

fn make(
    workshop: &Workshop,
    release: &Release,
    origin: Origin,
    (archive, limit): (&Path, u64),
    platform: Platform,
) -> Result<About, InstallError> {
    let making = Making::begin(&workshop.making)?;
    let (file, target) = (making.create()?, making.executable());
    let about = archive::unpack(archive, (&file, &target), limit)?;
    drop(file);
    if let Some(found) = about.version.filter(|found| *found != release.version) {
        return Err(InstallError::OtherVersion {
            package: release.package.clone(),
            wanted: release.version.clone(),
            found,
        });
    }
    platform.check(&target)?;
    let integrity = integrity(&release.sha512);
    Ok(making.finish(&workshop.shelf, release.version.clone(), origin, integrity)?)
}
