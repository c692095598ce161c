//! The door of this crate: what is installed, which version is chosen, and the changes to both.
//!
//! What is not `async` works on small files and may wait for a lock: it is called away from the event loop.

use crate::channel::{
    Canary, Channel, Choice, ChoiceError, OfferError, RollbackError, RolledBack, Tally, Trial, Verdict,
};
use crate::file::{FileError, blocking};
use crate::install::{InstallError, Workshop};
use crate::installed::{About, InstalledError, Shelf};
use crate::progress::{Progress, Step};
use crate::registry::Registry;
use crate::release::ResolveError;
use crate::state::{StateError, StateFile};
use crate::version::{Version, Wanted, listed};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum RuntimesError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    #[error(transparent)]
    Rollback(#[from] RollbackError),
}

#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("claude {version} is not installed; installed: {}", listed(installed))]
    NotInstalled {
        version: Version,
        installed: BTreeSet<Version>,
    },
    #[error("claude {version} is the default of new sessions: pin another version first")]
    Default { version: Version },
    #[error("claude {version} is on trial as a canary: end that first by rolling back")]
    Canary { version: Version },
    #[error("claude {version} is used by a session: end those that use it first")]
    InUse { version: Version },
    #[error("claude {version} is pinned by {}, and nothing else that is installed will do: change that first", by.join(", "))]
    Pinned { version: Version, by: Vec<String> },
}

#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Offer(#[from] OfferError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Who needs installed versions: what the caller knows of sessions and environments.
#[derive(Debug, Clone, Default)]
pub struct Holders {
    /// Versions that sessions run on, or would go on with.
    pub sessions: BTreeSet<Version>,
    /// What environments ask for, each with the name to tell of it.
    pub pins: Vec<(String, Wanted)>,
}

/// An installed version and what is made of it.
#[derive(Debug)]
pub struct Listed {
    pub version: Version,
    pub about: Result<About, InstalledError>,
    pub is_default: bool,
    /// Of new sessions, in per cent, if it is on trial.
    pub canary_share: Option<u8>,
    /// The environments that ask for a version and get this one.
    pub pinned_by: Vec<String>,
    pub is_in_use: bool,
    /// Why it is not taken by itself.
    pub refused: Option<String>,
}

/// What an upgrade came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgraded {
    /// There is nothing newer of what was asked for.
    Already {
        version: Version,
    },
    Default {
        version: Version,
    },
    Canary(Canary),
}

/// The installed versions of one data directory. Cheap to clone.
#[derive(Clone)]
pub struct Runtimes {
    shelf: Shelf,
    pub(crate) workshop: Workshop,
    pub(crate) state: Arc<StateFile>,
}

impl Runtimes {
    pub fn new(data: &Path) -> Self {
        let root = data.join("runtimes/claude");
        Self {
            workshop: Workshop::new(&root),
            state: Arc::new(StateFile::new(root.join("state.json"))),
            shelf: Shelf::new(root),
        }
    }

    /// Where a version's executable is, if it is installed.
    pub fn executable(&self, version: &Version) -> PathBuf {
        self.shelf.executable(version)
    }

    pub fn installed(&self) -> Result<BTreeSet<Version>, FileError> {
        self.shelf.versions()
    }

    /// Pin, default, canary and what is out of use, as they are now.
    pub fn channel(&self) -> Result<Channel, StateError> {
        self.state.read()
    }

    /// All that is installed, the newest first.
    pub fn list(&self, holders: &Holders) -> Result<Vec<Listed>, RuntimesError> {
        let (installed, channel) = (self.installed()?, self.channel()?);
        let default = channel.without_canary(&installed, None).ok();
        let listed = |version: &Version| Listed {
            about: self.shelf.about(version),
            is_default: default.as_ref().is_some_and(|choice| choice.version == *version),
            canary_share: channel
                .canary()
                .filter(|canary| canary.version == *version)
                .map(|canary| canary.trial.share_percent),
            pinned_by: holders
                .pins
                .iter()
                .filter(|(_, wanted)| {
                    let choice = channel.without_canary(&installed, Some(wanted));
                    choice.is_ok_and(|choice| choice.version == *version)
                })
                .map(|(name, _)| name.clone())
                .collect(),
            is_in_use: holders.sessions.contains(version),
            refused: channel.refused().get(version).cloned(),
            version: version.clone(),
        };
        Ok(installed.iter().rev().map(listed).collect())
    }

    /// The version that a new session gets, and where it is.
    pub fn choose(&self, wanted: Option<&Wanted>, session: &str) -> Result<(Choice, PathBuf), RuntimesError> {
        let choice = self.channel()?.choose(&self.installed()?, wanted, session)?;
        let path = self.executable(&choice.version);
        Ok((choice, path))
    }

    /// Counts sessions that have ended. Nothing is written unless a trial is on.
    pub fn observe(&self, version: &Version, tally: Tally) -> Result<Option<Verdict>, StateError> {
        if self.channel()?.canary().is_none() {
            return Ok(None);
        }
        self.state.change(|channel| Ok(channel.observe(version, tally)))
    }

    /// Holds the default to a version or range of those installed; `None` lets it go on from where it is. Answers the
    /// default.
    pub fn pin(&self, wanted: Option<Wanted>) -> Result<Option<Version>, RuntimesError> {
        let installed = self.installed()?;
        self.prepared(|channel| Ok(channel.set_pin(&installed, wanted)?))
    }

    pub fn roll_back(&self) -> Result<RolledBack, RuntimesError> {
        let installed = self.installed()?;
        self.prepared(|channel| Ok(channel.roll_back(&installed)?))
    }

    fn prepared<T>(
        &self,
        change: impl FnOnce(&mut Channel) -> Result<T, RuntimesError>,
    ) -> Result<T, RuntimesError> {
        self.workshop.prepare()?;
        self.state.change(change)
    }

    /// Removes a version that nobody needs.
    pub fn remove(&self, version: &Version, holders: &Holders) -> Result<(), RemoveError> {
        self.workshop.prepare()?;
        self.state.change(|channel| {
            let installed = self.installed()?;
            may_be_removed(channel, version, &installed, holders)?;
            self.shelf.remove(version, self.workshop.making())?;
            channel.forget(version);
            Ok(())
        })
    }

    /// Installs the newest version of what is asked for, else of the pin, else of the default's major version; then puts
    /// it on trial, or makes it the default `now`.
    pub async fn upgrade(
        &self,
        registry: &Registry,
        to: Option<&Wanted>,
        how: How,
        progress: &dyn Progress,
    ) -> Result<Upgraded, UpgradeError> {
        let runtimes = self.clone();
        let mut channel = blocking(move || runtimes.channel()).await??;
        let default = channel.default_version().cloned();
        let by_default = || match (channel.pin(), &default) {
            (Some(pin), _) => pin.clone(),
            (None, Some(default)) => Wanted::same_major(default),
            (None, None) => Wanted::latest(),
        };
        progress.at(Step::Resolving);
        let version = match (
            registry.newest(&to.cloned().unwrap_or_else(by_default)).await,
            &default,
        ) {
            (Ok(version), _) => version,
            // The default is newer than all that the registry has.
            (Err(ResolveError::NoMatch { .. }), Some(default)) if to.is_none() => default.clone(),
            (Err(error), _) => return Err(error.into()),
        };
        if default.as_ref() == Some(&version) {
            return Ok(Upgraded::Already { version });
        }
        // What will not be taken is not downloaded.
        take(&mut channel, &version, how)?;
        self.install(registry, &Wanted::Exact(version.clone()), progress)
            .await?;
        let runtimes = self.clone();
        blocking(move || runtimes.state.change(|channel| take(channel, &version, how))).await?
    }
}

/// How an upgrade takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Canary(Trial),
    Now,
}

fn take(channel: &mut Channel, version: &Version, how: How) -> Result<Upgraded, UpgradeError> {
    match how {
        How::Now => channel.adopt(version)?,
        How::Canary(trial) if channel.default_version() != Some(version) => channel.offer(version, trial)?,
        // The first one that is installed is the default already.
        How::Canary(_) => {}
    }
    Ok(match channel.canary() {
        Some(canary) => Upgraded::Canary(canary.clone()),
        None => Upgraded::Default {
            version: version.clone(),
        },
    })
}

fn may_be_removed(
    channel: &Channel,
    version: &Version,
    installed: &BTreeSet<Version>,
    holders: &Holders,
) -> Result<(), RemoveError> {
    let version = version.clone();
    if !installed.contains(&version) {
        return Err(RemoveError::NotInstalled {
            version,
            installed: installed.clone(),
        });
    }
    if channel.default_version() == Some(&version) {
        return Err(RemoveError::Default { version });
    }
    if channel.canary().is_some_and(|canary| canary.version == version) {
        return Err(RemoveError::Canary { version });
    }
    if holders.sessions.contains(&version) {
        return Err(RemoveError::InUse { version });
    }
    let others: BTreeSet<Version> = installed
        .iter()
        .filter(|other| **other != version)
        .cloned()
        .collect();
    let needs_it = |wanted: &Wanted| {
        let now = channel.without_canary(installed, Some(wanted));
        now.is_ok_and(|now| now.version == version) && channel.without_canary(&others, Some(wanted)).is_err()
    };
    let by: Vec<String> = holders
        .pins
        .iter()
        .filter(|(_, wanted)| needs_it(wanted))
        .map(|(name, _)| name.clone())
        .collect();
    if by.is_empty() {
        Ok(())
    } else {
        Err(RemoveError::Pinned { version, by })
    }
}
