//! What a session came to: read from its log and from the ledger of model calls.

use domain::{Cost, SessionStatus, Usage};
use std::time::Duration;
use wire::{SessionError, StopReason};

#[derive(Debug, Clone)]
pub struct Summary {
    pub status: SessionStatus,
    /// Why it stopped last; nothing while it works or before it has.
    pub stop_reason: Option<StopReason>,
    /// The agent's last text of the last turn.
    pub result_text: Option<String>,
    /// The last turn's error.
    pub error: Option<SessionError>,
    pub usage: Usage,
    /// Nothing where a model without a list price was used.
    pub list_cost: Option<Cost>,
    /// Model requests of all turns.
    pub turns: u64,
    /// Time in which the session was running.
    pub duration: Duration,
}
