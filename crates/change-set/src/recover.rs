//! Ends what an earlier hostler left half done: an apply that was committed is cleared up, any other is undone. Safe
//! to run at every start, and again after it was killed itself.

use crate::disk::{Disk, Faults};
use crate::journal::{Journal, Phase, Unreadable};
use crate::path::RelativePath;
use crate::rollback::roll_back;
use crate::root::{Root, RootError};
use crate::staging::Staging;
use domain::SessionId;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// An apply that was found unfinished.
#[derive(Debug)]
pub struct Recovered {
    pub session: SessionId,
    pub workspace: PathBuf,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    /// It had been committed: the workspace has all of it.
    Completed,
    /// The workspace is as it was before.
    RolledBack,
    /// The same, but these paths were changed by the user since and left alone; what they were before is in `staging`.
    Kept {
        paths: Vec<RelativePath>,
        staging: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(
        "the apply of {session} is unfinished, and its workspace cannot be reached; its journal is {journal}"
    )]
    Workspace {
        session: SessionId,
        journal: PathBuf,
        source: RootError,
    },
    #[error("finishing the apply of {session} failed; its journal is {journal}")]
    Disk {
        session: SessionId,
        journal: PathBuf,
        source: io::Error,
    },
    #[error("looking for unfinished applies in {data} failed")]
    List { data: PathBuf, source: io::Error },
}

/// Completes or undoes every apply that nobody works on any more. One that fails does not keep the others waiting.
pub fn recover(data: &Path) -> Vec<Result<Recovered, RecoverError>> {
    recover_with(data, &Faults::default())
}

/// [`recover`] with faults, for tests.
pub fn recover_with(data: &Path, faults: &Faults) -> Vec<Result<Recovered, RecoverError>> {
    let disk = Disk::new(faults.clone());
    let journals = match Journal::abandoned(&disk, data) {
        Ok(journals) => journals,
        Err(source) => {
            return vec![Err(RecoverError::List {
                data: data.to_owned(),
                source,
            })];
        }
    };
    journals
        .into_iter()
        .map(|journal| recover_one(&disk, journal?))
        .collect()
}

fn recover_one(disk: &Disk, mut journal: Journal) -> Result<Recovered, RecoverError> {
    let (session, workspace) = (journal.record.session.clone(), journal.record.workspace.clone());
    let directory = journal.directory().to_owned();
    let unreachable = |source| RecoverError::Workspace {
        session: session.clone(),
        journal: directory.clone(),
        source,
    };
    let root = Root::open(&workspace).map_err(unreachable)?;
    if root.own_stamp().inode != journal.record.inode {
        return Err(unreachable(RootError::Replaced { path: workspace }));
    }
    let outcome = finish(disk, &root, &mut journal).map_err(|source| RecoverError::Disk {
        session: session.clone(),
        journal: directory.clone(),
        source,
    })?;
    Ok(Recovered {
        session,
        workspace,
        outcome,
    })
}

fn finish(disk: &Disk, root: &Root, journal: &mut Journal) -> io::Result<Outcome> {
    let staging = Staging::open(root, &journal.record.id)?;
    let path = staging
        .as_ref()
        .map(|staging| staging.path(root))
        .unwrap_or_default();
    if journal.record.phase == Phase::Committed {
        let gone = match &staging {
            Some(staging) => staging.clear(disk, root, &HashSet::new())?,
            None => true,
        };
        journal.remove()?;
        return Ok(if gone {
            Outcome::Completed
        } else {
            Outcome::Kept {
                paths: Vec::new(),
                staging: path,
            }
        });
    }
    let rolled_back = roll_back(disk, root, staging.as_ref(), journal)?;
    if rolled_back.kept.is_empty() && !rolled_back.staging_stays {
        return Ok(Outcome::RolledBack);
    }
    Ok(Outcome::Kept {
        paths: rolled_back.kept,
        staging: path,
    })
}
