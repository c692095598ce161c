//! The sessions that somebody has to do with. What is of use to nobody goes when there are many; it is made again from
//! the store when it is asked for.

use crate::entry::Entry;
use domain::SessionId;
use std::collections::HashMap;
use std::sync::Arc;

/// As many as are kept without a look at whether anybody needs them.
const FEW: usize = 1024;

pub(crate) struct Entries {
    sessions: HashMap<SessionId, Arc<Entry>>,
    /// When there are so many, those that nobody needs go.
    sweep_at: usize,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            sessions: HashMap::new(),
            sweep_at: FEW,
        }
    }
}

impl Entries {
    pub(crate) fn get(&self, id: &SessionId) -> Option<Arc<Entry>> {
        self.sessions.get(id).cloned()
    }

    pub(crate) fn insert(&mut self, id: SessionId, entry: Arc<Entry>) {
        self.sweep();
        self.sessions.insert(id, entry);
    }

    /// The one that is there, or else this one.
    pub(crate) fn get_or_insert(&mut self, id: &SessionId, entry: Entry) -> Arc<Entry> {
        if let Some(there) = self.get(id) {
            return there;
        }
        let entry = Arc::new(entry);
        self.insert(id.clone(), entry.clone());
        entry
    }

    pub(crate) fn remove(&mut self, id: &SessionId) {
        self.sessions.remove(id);
    }

    pub(crate) fn take_all(&mut self) -> Vec<(SessionId, Arc<Entry>)> {
        self.sessions.drain().collect()
    }

    fn sweep(&mut self) {
        if self.sessions.len() < self.sweep_at {
            return;
        }
        // Whoever works with an entry has taken it from here, where nobody else is now.
        self.sessions
            .retain(|_, entry| Arc::strong_count(entry) > 1 || entry.is_needed());
        self.sweep_at = FEW.max(2 * self.sessions.len());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::{Limits, SessionStatus};
    use time::OffsetDateTime;

    fn entry(status: SessionStatus) -> Entry {
        let new = store::NewSession {
            id: SessionId::random(),
            title: None,
            workspace: None,
            model: "m".to_owned(),
            limits: Limits::default(),
            egress_rules: serde_json::Value::Null,
            settings: serde_json::Value::Null,
            hosting: None,
        };
        let mut row = store::Session::new(&new, OffsetDateTime::UNIX_EPOCH);
        row.status = status;
        Entry::stored(&row)
    }

    #[test]
    fn what_nobody_needs_goes_when_there_are_many() {
        let mut entries = Entries::default();
        let (held, read, works) = (SessionId::random(), SessionId::random(), SessionId::random());
        let holder = entries.get_or_insert(&held, entry(SessionStatus::Idle));
        let reader = entries
            .get_or_insert(&read, entry(SessionStatus::Idle))
            .hub()
            .clone();
        entries.get_or_insert(&works, entry(SessionStatus::Running));
        for _ in 0..10 * FEW {
            entries.get_or_insert(&SessionId::random(), entry(SessionStatus::Idle));
            assert!(entries.sessions.len() <= FEW);
        }
        for id in [&held, &read, &works] {
            assert!(entries.get(id).is_some());
        }
        drop((holder, reader));
        for _ in 0..FEW {
            entries.get_or_insert(&SessionId::random(), entry(SessionStatus::Terminated));
        }
        let there = |id| entries.get(id).is_some();
        assert!(!there(&held) && !there(&read) && there(&works));
    }
}
