//! Why the store could not be opened, or did not take or give something.

use crate::instance::InstanceError;
use domain::{SandboxId, SandboxState, SessionId};
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error("cannot open the database {path}", path = path.display())]
    Database { path: PathBuf, source: sqlx::Error },
    #[error("there is no room for the database {path}: No space left on device", path = path.display())]
    DiskFull { path: PathBuf },
    #[error("the database {path} was written by a newer hostler (schema {found}, this one knows {known}): use that version or another data directory", path = path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("cannot migrate the database {path} to schema {version}", path = path.display())]
    Migrate {
        path: PathBuf,
        version: i64,
        source: sqlx::Error,
    },
    #[error("cannot record this instance in the database")]
    Record(#[from] Error),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the disk of the data directory is full (No space left on device): nothing of this was stored, and nothing \
         stored before is lost"
    )]
    DiskFull,
    #[error("session {session} has a new owner: epoch {epoch} is over")]
    Fenced { session: SessionId, epoch: u64 },
    #[error("there is no session {session}")]
    NoSession { session: SessionId },
    #[error("there is no sandbox {sandbox}")]
    NoSandbox { sandbox: SandboxId },
    #[error("sandbox {sandbox} cannot go from {from:?} to {to:?}")]
    SandboxMove {
        sandbox: SandboxId,
        from: SandboxState,
        to: SandboxState,
    },
    #[error("process {process} of session {session} goes on with line {got}, but line {expected} is next")]
    LineGap {
        session: SessionId,
        process: String,
        expected: u64,
        got: u64,
    },
    #[error("the store is closed")]
    Closed,
    #[error("{what} in the database cannot be read: {reason}")]
    Corrupt { what: String, reason: String },
    #[error("{what} cannot be written as JSON: {reason}")]
    Unwritable { what: &'static str, reason: String },
    #[error("the database failed at {operation}")]
    Database {
        operation: &'static str,
        source: sqlx::Error,
    },
    /// A commit that failed for everything in it.
    #[error("the database could not commit: {reason}")]
    Commit { reason: String },
}

/// `SQLITE_FULL`, and the failure to grow the shared memory file beside the log.
const DISK_FULL: [&str; 2] = ["13", "4874"];

pub(crate) fn is_disk_full(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| DISK_FULL.contains(&&*code))
}

impl OpenError {
    /// Tells a full disk apart.
    pub(crate) fn database(path: PathBuf, source: sqlx::Error) -> Self {
        if is_disk_full(&source) {
            Self::DiskFull { path }
        } else {
            Self::Database { path, source }
        }
    }
}

impl Error {
    /// Whether the same may succeed later: what failed is the disk or the database, and not what was asked of it.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::DiskFull | Self::Database { .. } | Self::Commit { .. })
    }

    /// The error once more, for somebody else who waits.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::DiskFull => Self::DiskFull,
            Self::Fenced { session, epoch } => Self::Fenced {
                session: session.clone(),
                epoch: *epoch,
            },
            other => Self::Commit {
                reason: other.to_string(),
            },
        }
    }

    /// For `map_err`: names the operation, and tells a full disk apart.
    pub(crate) fn at(operation: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| {
            if is_disk_full(&source) {
                Self::DiskFull
            } else {
                Self::Database { operation, source }
            }
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> impl FnOnce(String) -> Self {
        let what = what.into();
        move |reason| Self::Corrupt { what, reason }
    }
}
