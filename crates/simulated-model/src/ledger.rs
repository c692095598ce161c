//! Every request that was received and what became of it, to be read by tests and by `GET /_simulated/ledger`.
//!
//! An entry is closed exactly once: by the last byte of its answer, or by what cut it off. Credentials are not kept.

use crate::tokens::Usage;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub id: u64,
    /// Milliseconds since 1970.
    pub received_at_ms: u64,
    pub path: String,
    /// Of the header `x-claude-code-session-id`.
    pub session: Option<String>,
    /// Names in lower case; a credential's value is left out.
    pub headers: Vec<(String, String)>,
    pub request_bytes: u64,
    pub model: String,
    pub stream: bool,
    pub messages: usize,
    /// The beginning of it.
    pub last_user_text: String,
    /// Which turn of the script was played; none if the script had none.
    pub turn: Option<String>,
    /// From 1, where the turn has a fault that ends.
    pub attempt: Option<u64>,
    pub status: Option<u16>,
    pub sent: Sent,
    pub outcome: Outcome,
}

/// What left for the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    pub events: u64,
    pub bytes: u64,
    /// As the last event that carried it said.
    pub usage: Option<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Open,
    Completed,
    /// Answered with an error.
    Refused,
    /// The client left before the end.
    CutByClient,
    /// The script ended the connection.
    CutByScript,
}

/// Over all entries, also those no longer kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub requests: u64,
    pub completed: u64,
    pub refused: u64,
    pub cut_by_client: u64,
    pub cut_by_script: u64,
    pub usage: Usage,
}

#[derive(Debug)]
pub struct Ledger {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    totals: Totals,
}

impl Ledger {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            capacity: capacity.max(1),
        }
    }

    /// The last entries, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.with(|state| state.entries.iter().cloned().collect())
    }

    pub fn totals(&self) -> Totals {
        self.with(|state| state.totals)
    }

    /// The entry gets the next id. It is closed as cut by the client if the ticket is dropped.
    pub(crate) fn open(self: &Arc<Self>, mut entry: Entry) -> Ticket {
        let id = self.with(|state| {
            state.totals.requests += 1;
            entry.id = state.totals.requests;
            let id = entry.id;
            if state.entries.len() >= self.capacity {
                state.entries.pop_front();
            }
            state.entries.push_back(entry);
            id
        });
        Ticket {
            ledger: Arc::clone(self),
            id,
            sent: Sent::default(),
            closed: false,
        }
    }

    fn close(&self, id: u64, sent: Sent, outcome: Outcome) {
        self.with(|state| {
            match outcome {
                Outcome::Open => {}
                Outcome::Completed => state.totals.completed += 1,
                Outcome::Refused => state.totals.refused += 1,
                Outcome::CutByClient => state.totals.cut_by_client += 1,
                Outcome::CutByScript => state.totals.cut_by_script += 1,
            }
            state.totals.usage.add(sent.usage.unwrap_or_default());
            if let Some(entry) = state.find(id) {
                entry.sent = sent;
                entry.outcome = outcome;
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn find(&mut self, id: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.id;
        self.entries
            .get_mut(usize::try_from(id.checked_sub(first)?).ok()?)
    }
}

/// An open entry.
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    id: u64,
    sent: Sent,
    closed: bool,
}

impl Ticket {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Entry)) {
        self.ledger.with(|state| state.find(self.id).map(change));
    }

    pub(crate) fn sent(&mut self, bytes: usize, usage: Option<Usage>) {
        self.sent.events += 1;
        self.sent.bytes += bytes as u64;
        self.sent.usage = usage.or(self.sent.usage);
    }

    pub(crate) fn close(&mut self, outcome: Outcome) {
        if !self.closed {
            self.closed = true;
            self.ledger.close(self.id, self.sent, outcome);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close(Outcome::CutByClient);
    }
}
