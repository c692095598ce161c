//! Undoing an apply, by the process that began it or by a later one. It never destroys what the user did since: where
//! the user's version is in the way, the old content stays in staging and is reported.

use crate::apply::Touched;
use crate::disk::Disk;
use crate::journal::{Journal, Phase};
use crate::ledger::Ledger;
use crate::path::RelativePath;
use crate::root::Root;
use crate::staging::Staging;
use crate::step::{Place, Step, Undone};
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;

/// Paths that were left as the user made them since.
#[derive(Debug, Default)]
pub(crate) struct RolledBack {
    pub(crate) kept: Vec<RelativePath>,
    /// Whether the staging directory stays, with old contents in it.
    pub(crate) staging_stays: bool,
}

/// Undoes what was done of the steps, the last first, then clears the staging directory and the journal.
pub(crate) fn roll_back(
    disk: &Disk,
    root: &Root,
    staging: Option<&Staging>,
    journal: &mut Journal,
) -> io::Result<RolledBack> {
    // A commit that failed half-way must not be what a recovery finds while steps are being undone.
    if journal.phase_on_disk()? == Phase::Committed {
        journal.advance(Phase::Applying)?;
    }
    let mut rolled_back = RolledBack::default();
    let Some(staging) = staging else {
        journal.remove()?;
        return Ok(rolled_back);
    };
    let mut keep: HashSet<OsString> = HashSet::new();
    let place = Place { disk, root, staging };
    let steps = journal.record.steps.clone();
    for step in steps.iter().rev() {
        if let Undone::Kept(name) = step.undo(&place)? {
            rolled_back.kept.push(step.path.clone());
            keep.extend(name);
        }
    }
    if !steps.is_empty() {
        disk.sync_all(root.fd())?;
        note(disk, journal, restored(root, &steps));
    }
    rolled_back.staging_stays = !staging.clear(disk, root, &keep)?;
    journal.remove()?;
    Ok(rolled_back)
}

/// The old entries that are back in their place, and the directories that they are in.
fn restored(root: &Root, steps: &[Step]) -> Touched {
    let mut touched = parents(root, steps);
    for step in steps {
        if let Some(old) = step.old
            && let Ok(Some(live)) = root.stamp(&step.path)
            && live.same_content(&old)
        {
            touched.push((step.path.clone(), live));
        }
    }
    touched
}

/// The directories in which steps changed entries.
pub(crate) fn parents(root: &Root, steps: &[Step]) -> Touched {
    let parents: BTreeSet<RelativePath> = steps.iter().filter_map(|step| step.path.parent()).collect();
    let stamp = |path: RelativePath| root.stamp(&path).ok().flatten().map(|stamp| (path, stamp));
    parents.into_iter().filter_map(stamp).collect()
}

/// Notes what was touched. Without the note, a later attempt asks the user needlessly; nothing worse.
pub(crate) fn note(disk: &Disk, journal: &Journal, touched: Touched) {
    let (data, session) = (&journal.data, &journal.record.session);
    let mut ledger = Ledger::load(data, session);
    for (path, stamp) in touched {
        ledger.note(path, stamp);
    }
    if let Err(error) = ledger.store(disk, data, session) {
        tracing::warn!(%error, "what was touched in the workspace could not be noted");
    }
}
