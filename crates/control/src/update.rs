//! A change of a session's own settings. Decided by the owner's view of the session, so that none is lost to another.

use crate::Toolset;
use domain::{Cost, SessionId};
use serde_json::Value;
use wire::{Body, Invalid};

/// What a change comes to, decided when its turn has come.
pub struct Update {
    pub decide: Decide,
}

pub type Decide = Box<dyn FnOnce(&store::Session) -> Result<Changed, Refused> + Send>;

#[derive(Debug, Clone)]
pub struct Changed {
    pub title: Option<String>,
    /// What the API alone keeps of the session, as it is from now.
    pub resource: Value,
    pub budget: Budgeting,
    /// The agent's tools, if they change.
    pub tools: Option<Toolset>,
    /// What is told; nothing where nothing changed.
    pub told: Option<Body>,
}

/// What becomes of the hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budgeting {
    Same,
    Limit(Cost),
    Unlimited,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// For programs, like `budget_create_only`.
    pub code: Option<&'static str>,
    pub message: String,
    /// It would be accepted at another time.
    pub conflict: bool,
}

impl Refused {
    fn conflict(code: &'static str, message: String) -> Self {
        Self {
            code: Some(code),
            message,
            conflict: true,
        }
    }

    pub fn archived(session: &SessionId) -> Self {
        let message = format!("session {session} is archived: start a new one");
        Self::conflict("session_archived", message)
    }

    pub fn terminated(session: &SessionId) -> Self {
        let message = format!("session {session} is terminated: start a new one");
        Self::conflict("session_terminated", message)
    }

    /// It must be idle to become what is asked for.
    pub(crate) fn running(session: &SessionId, what: &str) -> Self {
        let message = format!(
            "session {session} is running and cannot be {what}: send a user.interrupt, and wait until it is idle"
        );
        Self::conflict("session_running", message)
    }
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self {
            code: invalid.code,
            message: invalid.to_string(),
            conflict: false,
        }
    }
}
