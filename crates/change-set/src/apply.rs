//! Applies a change set to the workspace: all of what was chosen, or nothing. New contents are staged beside their
//! place, the plan is written down, then each step is one rename; [`mod@crate::recover`] ends what a kill interrupts.

use crate::change_set::{Allowed, ChangeSet, Conflict, ConflictReason, Entry};
use crate::disk::{Disk, Faults};
use crate::error::ApplyError;
use crate::journal::{Journal, Phase};
use crate::path::RelativePath;
use crate::rollback;
use crate::root::{Root, RootError};
use crate::source::Source;
use crate::staging::{StageError, Stager, Staging, sync_each};
use crate::stamp::Stamp;
use crate::step::{Place, Step, StepError};
use domain::SessionId;
use std::collections::{BTreeSet, HashSet};
use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How to apply.
#[derive(Clone)]
pub struct Options {
    /// hostler's data directory, for the journal.
    pub data: PathBuf,
    pub session: SessionId,
    pub allowed: Allowed,
    /// Set to stop: before the last step everything is put back.
    pub interrupted: Arc<AtomicBool>,
    /// None outside tests.
    pub faults: Faults,
}

/// What an apply did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    pub paths: Vec<RelativePath>,
    /// A staging directory that stays: removing it failed, and the next recovery tries again, or somebody else put
    /// something into it.
    pub leftover: Option<PathBuf>,
}

/// Applies what the permissions let through. A conflict in any of it refuses all of it.
pub async fn apply(source: &dyn Source, set: &ChangeSet, options: &Options) -> Result<Applied, ApplyError> {
    let root = Root::open(&set.workspace)?;
    if root.own_stamp().inode != set.inode {
        return Err(RootError::Replaced {
            path: set.workspace.clone(),
        }
        .into());
    }
    let selection = set.select(options.allowed);
    let mut conflicts = selection.conflicts();
    if conflicts.is_empty() {
        conflicts = changed_since_review(&root, &selection.chosen)?;
    }
    if !conflicts.is_empty() {
        return Err(ApplyError::Conflicts { conflicts });
    }
    if selection.chosen.is_empty() {
        return Ok(Applied::default());
    }
    let mut run = Run::begin(root, options)?;
    if let Err(error) = run.stage(source, &selection.chosen, &set.hasher).await {
        return Err(run.abandon(error));
    }
    tokio::task::spawn_blocking(move || run.execute())
        .await
        .map_err(|_| ApplyError::Lost)?
}

/// The same look again, right before anything is written: cheap, and it finds most of what happened while the user
/// was reading the review.
fn changed_since_review(root: &Root, chosen: &[&Entry]) -> Result<Vec<Conflict>, ApplyError> {
    let mut conflicts = Vec::new();
    for entry in chosen {
        let failed = |source| ApplyError::Stage {
            path: entry.path.clone(),
            source,
        };
        if root.stamp(&entry.path).map_err(failed)? != entry.before {
            conflicts.push(Conflict {
                path: entry.path.clone(),
                reason: ConflictReason::Changed,
            });
        }
    }
    Ok(conflicts)
}

/// One apply under way.
struct Run {
    root: Root,
    staging: Staging,
    journal: Journal,
    disk: Disk,
    interrupted: Arc<AtomicBool>,
    steps: Vec<Step>,
}

impl Run {
    fn begin(root: Root, options: &Options) -> Result<Self, ApplyError> {
        let disk = Disk::new(options.faults.clone());
        let failed = |source| ApplyError::Journal {
            directory: options.data.clone(),
            source,
        };
        let journal = Journal::begin(
            &disk,
            &options.data,
            &options.session,
            root.path(),
            root.own_stamp().inode,
        )
        .map_err(failed)?;
        match Staging::create(&disk, &root, &journal.record.id) {
            Ok(staging) => {
                let interrupted = Arc::clone(&options.interrupted);
                Ok(Self {
                    root,
                    staging,
                    journal,
                    disk,
                    interrupted,
                    steps: Vec::new(),
                })
            }
            Err(source) => {
                // Where the directory came to be after all, the journal stays for the next recovery to clear it.
                if matches!(Staging::open(&root, &journal.record.id), Ok(None)) {
                    let _ = journal.remove();
                }
                Err(ApplyError::Journal {
                    directory: root.path().to_owned(),
                    source,
                })
            }
        }
    }

    /// Removals first, what is in a directory before the directory; then the rest, a directory before what is in it.
    async fn stage(
        &mut self,
        source: &dyn Source,
        chosen: &[&Entry],
        hasher: &RandomState,
    ) -> Result<(), ApplyError> {
        let (removed, put): (Vec<&Entry>, Vec<&Entry>) =
            chosen.iter().partition(|entry| entry.after.is_none());
        let sync_each = sync_each(put.len());
        let stager = Stager {
            source,
            root: &self.root,
            staging: &self.staging,
            disk: &self.disk,
            hasher,
            sync_each,
        };
        for (slot, entry) in (0_u32..).zip(removed.into_iter().rev().chain(put)) {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(ApplyError::Interrupted);
            }
            let new = stager.stage(entry, slot).await.map_err(|error| match error {
                StageError::Source(error) => ApplyError::Source(error),
                StageError::Disk(source) => ApplyError::Stage {
                    path: entry.path.clone(),
                    source,
                },
            })?;
            self.steps.push(Step {
                path: entry.path.clone(),
                slot,
                new,
                old: entry.before,
            });
        }
        let synced = if sync_each {
            self.staging.sync(&self.disk)
        } else {
            self.staging.sync_all(&self.disk)
        };
        synced.map_err(|source| ApplyError::Journal {
            directory: self.staging.path(&self.root),
            source,
        })
    }

    fn place(&self) -> Place<'_> {
        Place {
            disk: &self.disk,
            root: &self.root,
            staging: &self.staging,
        }
    }

    /// The part that nobody waits for anything in: plan on disk, steps, commit, clearing up.
    fn execute(mut self) -> Result<Applied, ApplyError> {
        self.journal.record.steps.clone_from(&self.steps);
        if let Err(source) = self.journal.advance(Phase::Applying) {
            let directory = self.journal.directory().to_owned();
            return Err(self.abandon(ApplyError::Journal { directory, source }));
        }
        if let Err(error) = self.perform_all() {
            return Err(self.abandon(error));
        }
        if let Err(source) = self.journal.advance(Phase::Committed) {
            let directory = self.journal.directory().to_owned();
            return Err(self.abandon(ApplyError::Journal { directory, source }));
        }
        Ok(self.finish())
    }

    fn perform_all(&self) -> Result<(), ApplyError> {
        let place = self.place();
        for step in &self.steps {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(ApplyError::Interrupted);
            }
            step.perform(&place).map_err(|error| describe(step, error))?;
        }
        for step in &self.steps {
            match step.took_the_reviewed(&place) {
                Ok(true) => {}
                Ok(false) => return Err(describe(step, StepError::Conflict)),
                Err(error) => return Err(describe(step, StepError::Disk(error))),
            }
        }
        self.sync_directories()
    }

    fn sync_directories(&self) -> Result<(), ApplyError> {
        let parents: BTreeSet<Option<RelativePath>> =
            self.steps.iter().map(|step| step.path.parent()).collect();
        let failed = |source| ApplyError::Journal {
            directory: self.root.path().to_owned(),
            source,
        };
        if !sync_each(parents.len()) {
            return self.disk.sync_all(self.root.fd()).map_err(failed);
        }
        for parent in parents {
            let directory = match &parent {
                Some(parent) => self.root.directory(parent),
                None => self.root.fd().try_clone(),
            };
            // A directory that an earlier step removed has nothing left to keep.
            if let Ok(directory) = directory {
                self.disk.sync(&directory).map_err(failed)?;
            }
        }
        self.staging.sync(&self.disk).map_err(failed)
    }

    fn finish(self) -> Applied {
        let stamps = rollback::parents(&self.root, &self.steps);
        rollback::note(&self.disk, &self.journal, stamps);
        let cleared = self.staging.clear(&self.disk, &self.root, &HashSet::new());
        let leftover = match cleared.and_then(|gone| self.journal.remove().map(|()| gone)) {
            Ok(true) => None,
            Ok(false) | Err(_) => Some(self.staging.path(&self.root)),
        };
        Applied {
            paths: self.steps.into_iter().map(|step| step.path).collect(),
            leftover,
        }
    }

    /// Puts everything back, and says why the apply failed or, where that fails too, what is left to recover.
    fn abandon(mut self, error: ApplyError) -> ApplyError {
        match rollback::roll_back(&self.disk, &self.root, Some(&self.staging), &mut self.journal) {
            Ok(rolled_back) if rolled_back.kept.is_empty() => error,
            outcome => {
                if let Err(failure) = outcome {
                    tracing::warn!(%failure, "an apply could not be undone completely");
                }
                ApplyError::RollbackIncomplete {
                    staging: self.staging.path(&self.root),
                    source: Box::new(error),
                }
            }
        }
    }
}

fn describe(step: &Step, error: StepError) -> ApplyError {
    let path = step.path.clone();
    match error {
        StepError::Conflict => ApplyError::Conflicts {
            conflicts: vec![Conflict {
                path,
                reason: ConflictReason::Changed,
            }],
        },
        StepError::Disk(source) => ApplyError::Step { path, source },
    }
}

/// A path and the stamp that hostler itself left there.
pub(crate) type Touched = Vec<(RelativePath, Stamp)>;
