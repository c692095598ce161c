//! Which version a new session gets, and how a newer one takes over. Pure: no files, no clock.
//!
//! ```text
//!              offer                 trial passed
//!   installed ───────> candidate ──────────────────> default ──┐
//!                        │  │                           │      │ rollback: the default before,
//!          errors rise,  │  │ pin elsewhere             │      │ and this one is refused
//!          or rollback   v  v                           v      │
//!                     refused  (installed)          refused <──┘
//! ```
//!
//! A candidate is of the default's own major version and newer. It gets a share of the new sessions until its trial
//! is over. What was refused is not taken again unless somebody names it.

mod trial;

pub use trial::{Tally, Trial, Verdict};

use crate::version::{Version, Wanted, listed};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// How many defaults are remembered for rolling back.
const REMEMBERED: usize = 16;

/// What is decided about versions, and kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    pin: Option<Wanted>,
    default: Option<Version>,
    /// The defaults before, the last one last, with the pins that held then.
    before: Vec<Before>,
    refused: BTreeMap<Version, String>,
    canary: Option<Canary>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    version: Version,
    pin: Option<Wanted>,
}

/// A candidate on trial beside the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    pub version: Version,
    pub trial: Trial,
    /// Of the candidate's sessions and of the default's, since the trial began.
    pub candidate: Tally,
    pub incumbent: Tally,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub version: Version,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The environment asks for it.
    Pinned,
    Default,
    Canary,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("no version of claude is installed: install one with `hostler runtimes install claude`")]
    NothingInstalled,
    #[error(
        "no installed version of claude is {wanted} (installed: {}): install one with `hostler runtimes install 'claude@{wanted}'`",
        listed(installed)
    )]
    NotInstalled { wanted: Wanted, installed: Vec<Version> },
    #[error(
        "of the installed versions of claude only {version} is {wanted}, and it is out of use: {reason}; ask for exactly \
         {version} to use it all the same, or install another"
    )]
    Refused {
        wanted: Wanted,
        version: Version,
        reason: String,
    },
    #[error("{tag} is a tag, which only its registry can tell: ask for a version, a range or latest")]
    Tag { tag: String },
}

/// Why a version is not taken by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    #[error("{version} is not newer than the default {default}: pin it to go back to it")]
    NotNewer { version: Version, default: Version },
    #[error(
        "{version} is another major version than the default {default}, which is never taken by itself: take it with --now"
    )]
    Major { version: Version, default: Version },
    #[error("{version} is a pre-release, which is never taken by itself: take it with --now")]
    Prerelease { version: Version },
    #[error("{version} is out of use: {reason}; take it with --now to use it all the same")]
    Refused { version: Version, reason: String },
    #[error("the default is pinned to {pin}, and {version} is not that: change the pin first")]
    Pinned { version: Version, pin: Wanted },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    #[error(
        "there is no version to go back to: none before the default is installed; pin one of those that are"
    )]
    Nothing,
}

/// What a rollback did: `from` is out of use, `to` is the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    pub from: Version,
    pub to: Version,
}

impl Channel {
    pub fn pin(&self) -> Option<&Wanted> {
        self.pin.as_ref()
    }

    pub fn default_version(&self) -> Option<&Version> {
        self.default.as_ref()
    }

    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_ref()
    }

    /// Versions that are not taken by themselves, each with why.
    pub fn refused(&self) -> &BTreeMap<Version, String> {
        &self.refused
    }

    /// The version of a new session whose environment may ask for one. The same session is always told the same, as
    /// long as nothing changes.
    pub fn choose(
        &self,
        installed: &BTreeSet<Version>,
        wanted: Option<&Wanted>,
        session: &str,
    ) -> Result<Choice, ChoiceError> {
        if let Some(canary) = &self.canary
            && installed.contains(&canary.version)
            && !matches!(wanted, Some(Wanted::Exact(_)))
            && wanted.is_none_or(|wanted| wanted.admits(&canary.version))
            && is_in_share(session, &canary.version, canary.trial.share_percent)
        {
            return Ok(Choice {
                version: canary.version.clone(),
                reason: Reason::Canary,
            });
        }
        self.without_canary(installed, wanted)
    }

    /// The version of those that are in no canary's share.
    pub(crate) fn without_canary(
        &self,
        installed: &BTreeSet<Version>,
        wanted: Option<&Wanted>,
    ) -> Result<Choice, ChoiceError> {
        let usable = |version: &&Version| {
            installed.contains(*version) && wanted.is_none_or(|wanted| wanted.admits(version))
        };
        if let Some(default) = self.default.as_ref().filter(usable) {
            return Ok(Choice {
                version: default.clone(),
                reason: Reason::Default,
            });
        }
        let reason = if wanted.is_some() {
            Reason::Pinned
        } else {
            Reason::Default
        };
        let wanted = wanted
            .or(self.pin.as_ref())
            .cloned()
            .unwrap_or_else(Wanted::latest);
        let version = self.newest(installed, &wanted)?;
        Ok(Choice { version, reason })
    }

    /// The newest installed version that was asked for and is in use; one that was named exactly in any case.
    fn newest(&self, installed: &BTreeSet<Version>, wanted: &Wanted) -> Result<Version, ChoiceError> {
        if installed.is_empty() {
            return Err(ChoiceError::NothingInstalled);
        }
        if let Wanted::Tag(tag) = wanted
            && !wanted.is_latest()
        {
            return Err(ChoiceError::Tag { tag: tag.clone() });
        }
        let admitted = || {
            installed
                .iter()
                .rev()
                .filter(|version| wanted.admits(version) || (wanted.is_latest() && !version.is_prerelease()))
        };
        let is_free = |version: &&Version| {
            let is_canary = self
                .canary
                .as_ref()
                .is_some_and(|canary| canary.version == **version);
            matches!(wanted, Wanted::Exact(_)) || !(is_canary || self.refused.contains_key(*version))
        };
        if let Some(version) = admitted().find(is_free) {
            return Ok(version.clone());
        }
        let refused = admitted().find_map(|version| Some((version, self.refused.get(version)?)));
        match (admitted().next(), refused) {
            (_, Some((version, reason))) => Err(ChoiceError::Refused {
                wanted: wanted.clone(),
                version: version.clone(),
                reason: reason.clone(),
            }),
            // Only the candidate is what was asked for: better than nothing.
            (Some(version), None) => Ok(version.clone()),
            (None, None) => Err(ChoiceError::NotInstalled {
                wanted: wanted.clone(),
                installed: installed.iter().cloned().collect(),
            }),
        }
    }

    /// The first version that is installed becomes the default.
    pub fn settle_on(&mut self, version: &Version) {
        self.default.get_or_insert_with(|| version.clone());
    }

    /// Makes the newest installed version that is `wanted` the default, and holds the default to it; `None` lifts that.
    pub fn set_pin(
        &mut self,
        installed: &BTreeSet<Version>,
        wanted: Option<Wanted>,
    ) -> Result<Option<Version>, ChoiceError> {
        let Some(wanted) = wanted else {
            self.pin = None;
            return Ok(self.default.clone());
        };
        let holds = self.default.clone().filter(|default| {
            let is_free = !self.refused.contains_key(default);
            wanted.admits(default) && installed.contains(default) && is_free
        });
        let version = match holds {
            Some(default) => default,
            None => self.newest(installed, &wanted)?,
        };
        if self
            .canary
            .as_ref()
            .is_some_and(|canary| !wanted.admits(&canary.version))
        {
            self.canary = None;
        }
        self.become_default(&version);
        // `latest` names what is newest now; it holds to nothing.
        self.pin = (!wanted.is_latest()).then_some(wanted);
        Ok(Some(version))
    }

    /// Puts a version on trial. Where there is no default yet, it is the default at once.
    pub fn offer(&mut self, version: &Version, trial: Trial) -> Result<(), OfferError> {
        let version = version.clone();
        let Some(default) = self.default.clone() else {
            self.default = Some(version);
            return Ok(());
        };
        if let Some(pin) = self.pin.as_ref().filter(|pin| !pin.admits(&version)) {
            return Err(OfferError::Pinned {
                version,
                pin: pin.clone(),
            });
        }
        if let Some(reason) = self.refused.get(&version).cloned() {
            return Err(OfferError::Refused { version, reason });
        }
        if version.is_prerelease() {
            return Err(OfferError::Prerelease { version });
        }
        if version.major() > default.major() {
            return Err(OfferError::Major { version, default });
        }
        if version <= default {
            return Err(OfferError::NotNewer { version, default });
        }
        if self
            .canary
            .as_ref()
            .is_none_or(|canary| canary.version != version)
        {
            self.canary = Some(Canary {
                version,
                trial,
                candidate: Tally::default(),
                incumbent: Tally::default(),
            });
        }
        Ok(())
    }

    /// Makes a version the default at once, whatever was thought of it, because somebody says so.
    pub fn adopt(&mut self, version: &Version) -> Result<(), OfferError> {
        if let Some(pin) = self.pin.as_ref().filter(|pin| !pin.admits(version)) {
            return Err(OfferError::Pinned {
                version: version.clone(),
                pin: pin.clone(),
            });
        }
        self.canary = None;
        self.become_default(version);
        Ok(())
    }

    /// Counts sessions that have ended, and decides the trial once they say enough.
    pub fn observe(&mut self, version: &Version, tally: Tally) -> Option<Verdict> {
        let is_default = self.default.as_ref() == Some(version);
        let canary = self.canary.as_mut()?;
        if canary.version == *version {
            canary.candidate.add(tally);
        } else if is_default {
            canary.incumbent.add(tally);
        } else {
            return None;
        }
        let verdict = canary.trial.decide(canary.candidate, canary.incumbent)?;
        let candidate = canary.version.clone();
        self.canary = None;
        match &verdict {
            Verdict::Promoted => self.become_default(&candidate),
            Verdict::Dropped { reason } => {
                self.refused.insert(candidate, reason.clone());
            }
        }
        Some(verdict)
    }

    /// Undoes the last thing that was taken: a candidate that is on trial, else the default.
    pub fn roll_back(&mut self, installed: &BTreeSet<Version>) -> Result<RolledBack, RollbackError> {
        const REASON: &str = "it was rolled back";
        if let (Some(canary), Some(default)) = (&self.canary, &self.default) {
            let (from, to) = (canary.version.clone(), default.clone());
            self.canary = None;
            self.refused.insert(from.clone(), REASON.to_owned());
            return Ok(RolledBack { from, to });
        }
        let from = self.default.clone().ok_or(RollbackError::Nothing)?;
        let usable = |before: &Before| installed.contains(&before.version) && before.version != from;
        let at = self
            .before
            .iter()
            .rposition(usable)
            .ok_or(RollbackError::Nothing)?;
        let Before { version: to, pin } = self.before.swap_remove(at);
        self.before.truncate(at);
        self.pin = pin;
        self.refused.insert(from.clone(), REASON.to_owned());
        self.refused.remove(&to);
        self.default = Some(to.clone());
        Ok(RolledBack { from, to })
    }

    /// A version is no longer installed.
    pub fn forget(&mut self, version: &Version) {
        self.before.retain(|before| before.version != *version);
    }

    fn become_default(&mut self, version: &Version) {
        self.refused.remove(version);
        if self
            .canary
            .as_ref()
            .is_some_and(|canary| canary.version == *version)
        {
            self.canary = None;
        }
        if self.default.as_ref() == Some(version) {
            return;
        }
        if let Some(version) = self.default.replace(version.clone()) {
            // What was counted is of another default.
            if let Some(canary) = &mut self.canary {
                (canary.candidate, canary.incumbent) = (Tally::default(), Tally::default());
            }
            self.before.push(Before {
                version,
                pin: self.pin.clone(),
            });
            let excess = self.before.len().saturating_sub(REMEMBERED);
            self.before.drain(..excess);
        }
    }
}

/// Sessions are spread over 2^64 by a hash of their ids, anew for each candidate, so that not the same ones try
/// everything.
fn is_in_share(session: &str, candidate: &Version, percent: u8) -> bool {
    let hash = Sha256::new()
        .chain_update(candidate.to_string())
        .chain_update([0])
        .chain_update(session)
        .finalize();
    let position = hash
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u128::from(*byte));
    position * 100 < u128::from(percent) << 64
}

#[cfg(test)]
mod tests;
