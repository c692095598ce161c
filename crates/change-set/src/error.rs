//! Why a change set could not be read or applied.

use crate::change_set::Conflict;
use crate::path::RelativePath;
use crate::root::RootError;
use crate::source::SourceError;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the agent's changes have more than {most} entries")]
    Entries { most: usize },
    #[error("the names in the agent's changes have more than {most} bytes")]
    Names { most: usize },
    #[error("the files in the agent's changes have more than {most} bytes")]
    Bytes { most: u64 },
    #[error("reading {path} in the workspace failed")]
    Workspace { path: RelativePath, source: io::Error },
}

/// Nothing in the workspace is changed after any of these, except after the one that says so.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{} in the workspace changed after the agent began; nothing was applied", count(.conflicts))]
    Conflicts { conflicts: Vec<Conflict> },
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("preparing {path} failed; nothing was applied")]
    Stage { path: RelativePath, source: io::Error },
    #[error("changing {path} failed; everything was put back as it was")]
    Step { path: RelativePath, source: io::Error },
    #[error("stopped; nothing was applied")]
    Interrupted,
    #[error("keeping the record of the change in {directory} failed; nothing was applied")]
    Journal { directory: PathBuf, source: io::Error },
    #[error(
        "applying failed and could not be undone completely; what is not back in its place is kept in {staging}"
    )]
    RollbackIncomplete {
        staging: PathBuf,
        source: Box<ApplyError>,
    },
    #[error("the step that applies changes ended without an answer")]
    Lost,
}

fn count(conflicts: &[Conflict]) -> String {
    match conflicts {
        [one] => one.path.to_string(),
        many => format!("{} paths", many.len()),
    }
}
