//! The port to the gateway and the egress proxy: whatever serves a sandbox's listeners.

use async_trait::async_trait;
use domain::{Cost, SessionId};
use std::time::Instant;

/// What one sandbox may reach, and for how much.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The sandbox's model key; worth nothing anywhere else.
    pub token: String,
    pub rules: policy::Rules,
    /// The session's hard limit.
    pub budget: Option<Cost>,
    /// What the session's earlier calls cost.
    pub already_spent: Cost,
    /// When the message came that the session's first sandbox is for; nothing for a later one.
    pub waiting_since: Option<Instant>,
    /// Where the session's model calls are told.
    pub trace: traces::SessionTrace,
    /// Whether the agent has the model API's search tool.
    pub web_search: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the sandbox's network cannot be served: {reason}")]
pub struct NetworkError {
    pub reason: String,
}

#[async_trait]
pub trait Network: Send + Sync {
    /// Serves a sandbox's listeners until the attachment is detached or dropped.
    async fn attach(
        &self,
        session: &SessionId,
        grant: Grant,
        listeners: sandbox::Listeners,
    ) -> Result<Box<dyn Attachment>, NetworkError>;
}

#[async_trait]
pub trait Attachment: Send + Sync {
    /// The session's hard limit from now on.
    fn set_budget(&self, budget: Option<Cost>);

    /// Since when somebody waits for the first model call, where that was not known when it was attached.
    fn wait_since(&self, since: Instant);

    /// Whether the agent has the model API's search tool from now on.
    fn set_web_search(&self, allowed: bool);

    /// Ends what is served; open model calls are closed in the ledger before this returns.
    async fn detach(self: Box<Self>);
}
