//! The record of model calls: what a session is charged for.
//!
//! An entry is opened, durably, before the upstream sees the call, and closed before the client sees the end of its
//! answer. One that stays open after a crash was cut, with an unknown use.

use async_trait::async_trait;
use domain::{Cost, SessionId, Usage};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

#[async_trait]
pub trait Ledger: Send + Sync {
    /// Returns when the entry would survive a crash.
    async fn open(&self, call: &NewCall) -> Result<CallId, LedgerError>;

    /// Called once for each entry that was opened.
    async fn close(&self, id: CallId, outcome: &CallOutcome) -> Result<(), LedgerError>;
}

/// The ledger's own number for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub i64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ledger did not take the entry: {reason}")]
pub struct LedgerError {
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCall {
    pub session_id: SessionId,
    /// As the request names it.
    pub model: String,
    pub stream: bool,
    pub request_bytes: u64,
    pub started_at: OffsetDateTime,
    /// How long the session's first call was waited for.
    pub waited: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOutcome {
    pub ended: Ended,
    /// Of the upstream's last answer.
    pub status: Option<u16>,
    /// As the upstream names it.
    pub model: Option<String>,
    pub usage: Usage,
    /// The end was not seen: output is counted from the bytes that passed, four to a token.
    pub estimated: bool,
    /// Nothing if the model has no price.
    pub cost: Option<Cost>,
    /// How often the call was sent.
    pub attempts: u32,
    /// The upstream's.
    pub request_id: Option<String>,
    /// From the request's arrival to the first byte of the reply's body.
    pub first_byte: Option<Duration>,
    pub duration: Duration,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Completed,
    /// The upstream answered with an error.
    Refused,
    /// The stream carried an error, was cut, fell silent, or went on beyond every limit.
    CutByUpstream,
    CutByClient,
    /// No answer at all.
    Unreachable,
    /// The session was stopped.
    Stopped,
}

impl Ended {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::CutByUpstream => "cut_by_upstream",
            Self::CutByClient => "cut_by_client",
            Self::Unreachable => "unreachable",
            Self::Stopped => "stopped",
        }
    }
}

/// A ledger that lasts as long as the process: for tests and benches.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    calls: Mutex<Vec<RecordedCall>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCall {
    pub call: NewCall,
    /// Nothing while it is open.
    pub outcome: Option<CallOutcome>,
}

impl MemoryLedger {
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn open(&self, call: &NewCall) -> Result<CallId, LedgerError> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(RecordedCall {
            call: call.clone(),
            outcome: None,
        });
        Ok(CallId(calls.len() as i64 - 1))
    }

    async fn close(&self, id: CallId, outcome: &CallOutcome) -> Result<(), LedgerError> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = usize::try_from(id.0)
            .ok()
            .and_then(|number| calls.get_mut(number));
        let unknown = || LedgerError {
            reason: format!("there is no entry {}", id.0),
        };
        entry.ok_or_else(unknown)?.outcome = Some(outcome.clone());
        Ok(())
    }
}
