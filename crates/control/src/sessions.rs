//! What can be asked of sessions.

use crate::{AccessError, CreateError, EventStream, Network, SendError, Settings, StartError, Summary};
use domain::{Cost, EventId, Limits, SessionId};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use wire::{ContentBlock, SessionError, StopReason};

/// A handle to all sessions of a store; cheap to clone.
#[derive(Clone)]
pub struct Control {
    #[expect(dead_code, reason = "the owners use them")]
    parts: Arc<Parts>,
}

pub struct Parts {
    pub store: Store,
    pub backend: Arc<dyn sandbox::Backend>,
    pub network: Arc<dyn Network>,
    pub settings: Settings,
}

/// What a session is made with.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub workspace: Option<sandbox::Workspace>,
    pub model: String,
    pub limits: Limits,
    pub rules: policy::Rules,
    pub max_turns: Option<u32>,
    pub max_cost: Option<Cost>,
    pub system_prompt: Option<String>,
    pub title: Option<String>,
    pub runtime: Runtime,
}

/// Which program plays the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// `hostler-agent`.
    #[default]
    Native,
}

/// Why a session is not working.
#[derive(Debug, Clone, PartialEq)]
pub struct Idle {
    /// Nothing before its first turn and after its end.
    pub stop_reason: Option<StopReason>,
    /// What went wrong in the last turn.
    pub error: Option<SessionError>,
    /// No turn comes any more.
    pub terminated: bool,
}

impl Control {
    /// Takes over the store: what a dead instance left running is ended, and each session's log says what was cut.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        Ok(Self { parts: Arc::new(parts) })
    }

    /// A new idle session. Its sandbox starts with the first message.
    pub async fn create(&self, _new: NewSession) -> Result<SessionId, CreateError> {
        unimplemented!()
    }

    /// Stores a message and has the agent act on it, after what it is doing and what waits already.
    pub async fn send(&self, _id: &SessionId, _content: Vec<ContentBlock>) -> Result<EventId, SendError> {
        unimplemented!()
    }

    /// Ends the present turn. Does nothing to a session that is idle.
    pub async fn interrupt(&self, _id: &SessionId) -> Result<(), SendError> {
        unimplemented!()
    }

    /// The log after an event's number (0 for all of it), and then what comes.
    pub async fn events(&self, _id: &SessionId, _after: u64) -> Result<EventStream, AccessError> {
        unimplemented!()
    }

    /// Waits until the session has nothing to do.
    pub async fn wait_idle(&self, _id: &SessionId) -> Result<Idle, AccessError> {
        unimplemented!()
    }

    pub async fn summary(&self, _id: &SessionId) -> Result<Summary, AccessError> {
        unimplemented!()
    }

    /// Ends the runtime and the sandbox; the row, the log and the files stay. The session takes no more messages.
    pub async fn stop(&self, _id: &SessionId) -> Result<(), AccessError> {
        unimplemented!()
    }

    /// Stops the session and removes its files, its log and its row.
    pub async fn remove(&self, _id: &SessionId) -> Result<(), AccessError> {
        unimplemented!()
    }

    /// All sessions, the newest first.
    pub async fn sessions(&self) -> Result<Vec<store::Session>, AccessError> {
        unimplemented!()
    }

    pub async fn session(&self, _id: &SessionId) -> Result<store::Session, AccessError> {
        unimplemented!()
    }

    /// Ends every runtime and sandbox and waits for that until the deadline. Sessions that were working get an error
    /// and are idle. Whatever is left then is reclaimed by the next start.
    pub async fn shutdown(&self, _deadline: Duration) {
        unimplemented!()
    }
}
