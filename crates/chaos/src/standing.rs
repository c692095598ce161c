//! How a session stands, as far as a reader of its events can tell. Pure.

use serde_json::Value;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The last event.
    pub(crate) last: Option<String>,
    pub(crate) idle: bool,
    /// Calls that wait for the user's word.
    pub(crate) asks: Vec<String>,
}

impl Standing {
    pub(crate) fn saw(&mut self, event: &Value) {
        self.last = event["id"].as_str().map(str::to_owned);
        match event["type"].as_str() {
            Some("session.status_idle") => {
                let asks = event["stop_reason"]["event_ids"].as_array();
                let asks = asks.into_iter().flatten().filter_map(Value::as_str);
                self.asks = asks.map(str::to_owned).collect();
                self.idle = self.asks.is_empty();
            }
            Some("session.status_running" | "session.status_rescheduled") => {
                self.idle = false;
                self.asks.clear();
            }
            _ => {}
        }
    }

    /// That of a whole log.
    pub(crate) fn of(log: &[Value]) -> Self {
        let mut standing = Self {
            idle: true,
            ..Self::default()
        };
        for event in log {
            standing.saw(event);
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_session_is_idle_only_when_it_waits_for_nobody() {
        let running = json!({"id": "1", "type": "session.status_running"});
        let asks = json!({"id": "2", "type": "session.status_idle",
            "stop_reason": {"type": "requires_action", "event_ids": ["sevt_a"]}});
        let idle = json!({"id": "3", "type": "session.status_idle", "stop_reason": {"type": "end_turn"}});
        assert!(Standing::of(&[]).idle);
        assert!(!Standing::of(std::slice::from_ref(&running)).idle);
        let waits = Standing::of(&[running.clone(), asks.clone()]);
        assert_eq!((waits.idle, waits.asks), (false, vec!["sevt_a".to_owned()]));
        let over = Standing::of(&[running, asks, idle]);
        assert_eq!(
            (over.idle, over.asks, over.last.as_deref()),
            (true, vec![], Some("3"))
        );
    }
}
