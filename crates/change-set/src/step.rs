//! One step of an apply, and how it is undone. What was done so far is never noted: it can be told from where the
//! old and the new entry are, so a step can be undone after a kill at any moment, and undone twice.
//!
//! ```text
//!              staging/new-N   workspace/path   staging/old-N
//!   before         new             old              -
//!   swapped        old             new              -          one call, where the file system can
//!   moved          -               new              old        two calls, where it cannot
//! ```
//!
//! An entry in the workspace that is neither the old one nor the new one as it was put there belongs to the user, and
//! is left alone.

use crate::disk::{At, Disk};
use crate::path::RelativePath;
use crate::root::{self, Root};
use crate::staging::{Staging, new_name, old_name};
use crate::stamp::{NodeKind, Stamp};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) path: RelativePath,
    /// The N of its names in staging.
    pub(crate) slot: u32,
    /// What comes to the path, as it was staged.
    pub(crate) new: Option<Stamp>,
    /// What was reviewed there.
    pub(crate) old: Option<Stamp>,
}

#[derive(Debug)]
pub(crate) enum StepError {
    /// The user was quicker.
    Conflict,
    Disk(io::Error),
}

impl From<io::Error> for StepError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::AlreadyExists {
            Self::Conflict
        } else {
            Self::Disk(error)
        }
    }
}

/// Where a step works.
pub(crate) struct Place<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) root: &'a Root,
    pub(crate) staging: &'a Staging,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// The path is as it was before the step, or as the user made it since.
    Clean,
    /// The user changed it since; the old entry stays under this name in staging.
    Kept(Option<OsString>),
}

impl Step {
    /// Does the step, unless what is at the path is not what was reviewed.
    pub(crate) fn perform(&self, place: &Place<'_>) -> Result<(), StepError> {
        let parent = match place.root.parent(&self.path) {
            Err(error) if is_gone(&error) => return Err(StepError::Conflict),
            other => other?,
        };
        let live = At(&parent, self.path.name());
        if !self.is_reviewed(root::stamp_at(live.0, live.1)?) {
            return Err(StepError::Conflict);
        }
        let (new, old) = (new_name(self.slot), old_name(self.slot));
        let (new, old) = (place.staging.at(&new), place.staging.at(&old));
        match (self.new, self.old) {
            (Some(_), None) => place.disk.rename(new, live)?,
            (None, Some(_)) => place.disk.rename(live, old)?,
            (Some(_), Some(_)) => {
                if !place.disk.exchange(new, live)? {
                    place.disk.rename(live, old)?;
                    place.disk.rename(new, live)?;
                }
            }
            (None, None) => {}
        }
        if self.took_the_reviewed(place)? {
            Ok(())
        } else {
            Err(StepError::Conflict)
        }
    }

    fn is_reviewed(&self, live: Option<Stamp>) -> bool {
        match (live, self.old) {
            (None, None) => true,
            // Its times move with its entries, which other steps of this apply take out.
            (Some(live), Some(old)) if old.kind == NodeKind::Directory => live.same_content(&old),
            (Some(live), Some(old)) => live == old,
            _ => false,
        }
    }

    /// Whether what lies in staging is what was reviewed, and a directory there is empty: nobody slipped anything in
    /// between the look and the move.
    pub(crate) fn took_the_reviewed(&self, place: &Place<'_>) -> io::Result<bool> {
        let Some(old) = self.old else { return Ok(true) };
        let Some((name, stamp)) = self.taken(place.staging)? else {
            return Ok(false);
        };
        Ok(stamp.same_content(&old)
            && (stamp.kind != NodeKind::Directory || place.staging.is_empty(&name)?))
    }

    /// Puts the path back as it was, as far as the step was done.
    pub(crate) fn undo(&self, place: &Place<'_>) -> io::Result<Undone> {
        let Some(live) = place.root.stamp(&self.path)? else {
            return self.undo_absent(place);
        };
        let backup = self.taken(place.staging)?;
        let Some(new) = self
            .new
            .filter(|new| new.kind == live.kind && new.inode == live.inode)
        else {
            // Somebody else's, or still the old one.
            return Ok(backup.map_or(Undone::Clean, |(name, _)| Undone::Kept(Some(name))));
        };
        if place
            .staging
            .stamp(&new_name(self.slot))?
            .is_some_and(|staged| staged.inode == new.inode)
        {
            return Ok(Undone::Clean);
        }
        let untouched = live.same_content(&new)
            && (live.kind != NodeKind::Directory || place.root.list(Some(&self.path))?.is_empty());
        if !untouched {
            return Ok(Undone::Kept(backup.map(|(name, _)| name)));
        }
        let parent = place.root.parent(&self.path)?;
        let at = At(&parent, self.path.name());
        match backup {
            None if live.kind == NodeKind::Directory => place.disk.remove(at, true)?,
            None => place.disk.rename(at, place.staging.at(&new_name(self.slot)))?,
            Some((name, _)) if name == new_name(self.slot) => {
                place.disk.exchange(place.staging.at(&name), at)?;
            }
            Some((name, _)) => {
                place.disk.rename(at, place.staging.at(&new_name(self.slot)))?;
                place.disk.rename(place.staging.at(&name), at)?;
            }
        }
        Ok(Undone::Clean)
    }

    /// Nothing is at the path: the old entry goes back if it is here.
    fn undo_absent(&self, place: &Place<'_>) -> io::Result<Undone> {
        let Some((name, _)) = self.taken(place.staging)? else {
            return Ok(Undone::Clean);
        };
        let parent = match place.root.parent(&self.path) {
            Ok(parent) => parent,
            // The user removed or replaced the directory it was in.
            Err(error) if is_gone(&error) => return Ok(Undone::Kept(Some(name))),
            Err(error) => return Err(error),
        };
        place
            .disk
            .rename(place.staging.at(&name), At(&parent, self.path.name()))?;
        Ok(Undone::Clean)
    }

    /// What the step took away, wherever it is in staging: also what it took by mistake.
    fn taken(&self, staging: &Staging) -> io::Result<Option<(OsString, Stamp)>> {
        for name in [old_name(self.slot), new_name(self.slot)] {
            if let Some(stamp) = staging.stamp(OsStr::new(&name))?
                && self.new.is_none_or(|new| new.inode != stamp.inode)
            {
                return Ok(Some((name, stamp)));
            }
        }
        Ok(None)
    }
}

fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
    )
}
