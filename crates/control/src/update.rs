//! A change of a session's own settings. Decided by the owner's view of the session, so that none is lost to another.

use crate::Toolset;
use domain::Cost;
use serde_json::Value;
use wire::Body;

/// What a change comes to, decided when its turn has come.
pub(crate) struct Update {
    pub decide: Decide,
}

pub(crate) type Decide = Box<dyn FnOnce(&store::Session) -> Result<Changed, Refused> + Send>;

#[derive(Debug, Clone)]
pub(crate) struct Changed {
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
pub(crate) enum Budgeting {
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
