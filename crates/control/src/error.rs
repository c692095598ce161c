//! Why something that was asked of the sessions could not be done.

use crate::asks::AnswerError;
use crate::update::Refused;
use domain::{LimitError, SandboxId, SessionId};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot find out what an earlier hostler left behind")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Backend(#[from] sandbox::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Limits(#[from] LimitError),
    #[error("a model is needed")]
    NoModel,
    #[error("the session's settings cannot be stored: {reason}")]
    Settings { reason: String },
    #[error("the session cannot be stored")]
    Store(#[source] store::Error),
    #[error("hostler is shutting down")]
    ShuttingDown,
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the message is empty: give at least one block of text, an image or a document")]
    Empty,
    #[error("the message has {bytes} bytes, and at most {limit} are taken")]
    TooLarge { bytes: usize, limit: usize },
    #[error("a content block of type {kind:?} cannot be sent to an agent")]
    Block { kind: String },
    #[error("{count} messages wait already: let the agent work on them first")]
    QueueFull { count: usize },
    #[error("session {session} has ended: start a new one")]
    Terminated { session: SessionId },
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// A session could not be made with its first message.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Send(#[from] SendError),
}

/// A session cannot be reached or its data not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("there is no session {session}")]
    NoSession { session: SessionId },
    #[error(transparent)]
    Store(store::Error),
    #[error("the owner of session {session} has failed; starting hostler again repairs the session")]
    OwnerGone { session: SessionId },
    #[error("session {session} could not be removed: {failures}", failures = list(.failures))]
    Cleanup {
        session: SessionId,
        failures: Vec<CleanupFailure>,
    },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("hostler is shutting down")]
    ShuttingDown,
}

/// Something that could not be taken away. Cleaning goes on with the rest.
#[derive(Debug, thiserror::Error)]
#[error("{step} of sandbox {sandbox}: {reason}")]
pub struct CleanupFailure {
    pub sandbox: SandboxId,
    pub step: &'static str,
    pub reason: String,
}

fn list(failures: &[CleanupFailure]) -> String {
    failures
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl AccessError {
    /// Whether the same may be possible later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_pass())
    }
}

impl From<store::Error> for AccessError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoSession { session } => Self::NoSession { session },
            other => Self::Store(other),
        }
    }
}
