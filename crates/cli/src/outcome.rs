//! What a run came to, as `--json` prints it: one object on one line, also when it failed.

use crate::render::changes::{missing_flags, word};
use change_set::{Allowed, ChangeSet, Lines};
use control::Summary;
use domain::{SessionId, Usage};
use serde::Serialize;
use std::collections::HashSet;
use std::time::Duration;
use terminal::Failure;
use wire::SessionUsage;

/// Changes that are listed; `changes_left_out` counts the rest.
const MAX_CHANGES: usize = 10_000;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    /// The agent's last words.
    pub(crate) result: Option<String>,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) usage: Usage,
    /// US dollars by list price; null where the price is unknown.
    pub(crate) list_cost: Option<f64>,
    pub(crate) duration_ms: u64,
    pub(crate) changes: Vec<Change>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) changes_left_out: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorRecord>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names in the JSON")]
pub(crate) struct Change {
    pub(crate) path: String,
    /// `added`, `edited`, `mode`, `removed` or `replaced`.
    pub(crate) change: &'static str,
    /// Lines; null where they were not counted.
    pub(crate) added: Option<usize>,
    pub(crate) removed: Option<usize>,
    pub(crate) applied: bool,
    /// The flags without which it is not applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) needs: Vec<&'static str>,
    /// Sockets, pipes and devices are never applied.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) special: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) conflict: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ErrorRecord {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl From<&Failure> for ErrorRecord {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message.clone(),
            hint: failure.hint.clone(),
        }
    }
}

impl Outcome {
    pub(crate) fn set_summary(&mut self, summary: &Summary, duration: Duration) {
        self.result.clone_from(&summary.result_text);
        self.usage = summary.usage;
        self.list_cost = summary.list_cost.map(domain::Cost::usd);
        self.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    }

    /// What a server says of its session.
    pub(crate) fn set_usage(&mut self, usage: &SessionUsage) {
        let written = usage.cache_creation.unwrap_or_default();
        self.usage = Usage {
            input_tokens: usage.input_tokens.unwrap_or(0),
            output_tokens: usage.output_tokens.unwrap_or(0),
            cache_read_input_tokens: usage.cache_read_input_tokens.unwrap_or(0),
            cache_creation_5m_input_tokens: written.ephemeral_5m_input_tokens.unwrap_or(0),
            cache_creation_1h_input_tokens: written.ephemeral_1h_input_tokens.unwrap_or(0),
            ..Usage::default()
        };
        let cents = usage
            .list_cost
            .as_ref()
            .and_then(|cost| cost.amount.parse::<f64>().ok());
        self.list_cost = cents.map(|cents| cents / 100.0);
    }

    pub(crate) fn set_changes(&mut self, set: &ChangeSet, allowed: Allowed, applied: bool) {
        let chosen = set.select(allowed).chosen;
        let chosen: HashSet<&[u8]> = chosen.iter().map(|entry| entry.path.as_bytes()).collect();
        let changes = set.entries.iter().take(MAX_CHANGES).map(|entry| {
            let (added, removed) = match entry.lines {
                Lines::Counted { added, removed } => (Some(added), Some(removed)),
                _ => (None, None),
            };
            Change {
                path: entry.path.to_string(),
                change: word(entry),
                added,
                removed,
                applied: applied && chosen.contains(entry.path.as_bytes()),
                needs: missing_flags(entry, Allowed::default()),
                special: entry.class.special,
                conflict: entry.conflict.map(|reason| reason.to_string()),
            }
        });
        self.changes = changes.collect();
        self.changes_left_out = set.entries.len().saturating_sub(MAX_CHANGES);
    }

    /// One line, with its end.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        // Strings, numbers and lists always have a form in JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec());
        line.push(b'\n');
        line
    }
}
