//! What a session waits for: calls that the user lets run or not, and calls of tools that the user plays.

use crate::render::activity::call;
use domain::EventId;
use serde_json::{Map, Value};
use terminal::Style;
use wire::{Body, Event, StopReason};

/// A call that has no answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: EventId,
    pub(crate) name: String,
    pub(crate) input: Map<String, Value>,
    pub(crate) asks: Asks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    Confirmation,
    Result,
}

/// Follows a log, in its order.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// That may be waited for.
    calls: Vec<Call>,
    ids: Vec<EventId>,
}

impl Waiting {
    pub(crate) fn take(&mut self, event: &Event) {
        let asked = |name: &String, input: &Map<String, Value>, asks| Call {
            id: event.id.clone(),
            name: name.clone(),
            input: input.clone(),
            asks,
        };
        match &event.body {
            Body::AgentToolUse { name, input, .. } => self.calls.push(asked(name, input, Asks::Confirmation)),
            Body::AgentCustomToolUse { name, input, .. } => self.calls.push(asked(name, input, Asks::Result)),
            Body::AgentToolResult { tool_use_id: id, .. }
            | Body::UserToolConfirmation { tool_use_id: id, .. }
            | Body::UserCustomToolResult {
                custom_tool_use_id: id,
                ..
            } => {
                self.calls.retain(|call| call.id != *id);
                self.ids.retain(|waiting| waiting != id);
            }
            Body::SessionStatusIdle {
                stop_reason: StopReason::RequiresAction { event_ids },
                ..
            } => self.ids.clone_from(event_ids),
            Body::SessionStatusIdle { .. } => {
                // What is open then is not asked for any more.
                self.ids.clear();
                self.calls.clear();
            }
            Body::SessionStatusRunning
            | Body::SessionStatusRescheduled
            | Body::SessionStatusTerminated
            | Body::SessionDeleted => self.ids.clear(),
            _ => {}
        }
    }

    /// In the order in which they are asked for.
    pub(crate) fn calls(&self) -> Vec<&Call> {
        let of = |id: &EventId| self.calls.iter().find(|call| call.id == *id);
        self.ids.iter().filter_map(of).collect()
    }

    /// The session rests until they are answered.
    pub(crate) fn ids(&self) -> &[EventId] {
        &self.ids
    }
}

/// Each call with the commands that answer it; `session` names it with the flags that lead to it.
pub(crate) fn lines(calls: &[&Call], session: &str, style: Style, width: usize) -> Vec<String> {
    let mut lines = vec![style.yellow(if calls.len() == 1 {
        "it waits for an answer:"
    } else {
        "it waits for answers:"
    })];
    for asked in calls {
        let id = &asked.id;
        let send = format!("    hostler sessions send {session}");
        lines.push(format!(
            "  {}",
            call(&asked.name, &asked.input, style, width.saturating_sub(2))
        ));
        match asked.asks {
            Asks::Confirmation => {
                lines.push(format!("{send} --allow {id}"));
                lines.push(format!("{send} --deny {id} --message WHY"));
            }
            Asks::Result => lines.push(format!("{send} --result {id} TEXT")),
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use domain::SessionId;
    use serde_json::json;

    fn event(mut body: Value) -> Event {
        if body.get("id").is_none() {
            body["id"] = json!(EventId::random());
        }
        body["processed_at"] = json!("2026-01-01T00:00:00Z");
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_is_waited_for_is_told_with_what_answers_it() {
        let [bash, weather] = [EventId::random(), EventId::random()];
        let session = SessionId::random();
        let mut waiting = Waiting::default();
        let take = |waiting: &mut Waiting, body| waiting.take(&event(body));
        take(
            &mut waiting,
            json!({"type": "agent.tool_use", "id": bash, "name": "bash", "input": {"command": "rm x"}}),
        );
        take(
            &mut waiting,
            json!({"type": "agent.custom_tool_use", "id": weather, "name": "weather", "input": {}}),
        );
        assert!(waiting.calls().is_empty(), "not before the session waits");
        let idle = |ids: &[&EventId]| json!({"type": "session.status_idle", "stop_reason": {"type": "requires_action", "event_ids": ids}});
        take(&mut waiting, idle(&[&bash, &weather]));
        let named = format!("{session} --workspace a");
        let shown = lines(&waiting.calls(), &named, Style::new(false), 80);
        assert_eq!(
            shown,
            [
                "it waits for answers:".to_owned(),
                "  bash  rm x".to_owned(),
                format!("    hostler sessions send {session} --workspace a --allow {bash}"),
                format!("    hostler sessions send {session} --workspace a --deny {bash} --message WHY"),
                "  weather  {}".to_owned(),
                format!("    hostler sessions send {session} --workspace a --result {weather} TEXT"),
            ]
        );
        take(
            &mut waiting,
            json!({"type": "user.tool_confirmation", "tool_use_id": bash, "result": "allow"}),
        );
        assert_eq!(waiting.calls().len(), 1);
        take(&mut waiting, idle(&[&weather]));
        assert_eq!(waiting.calls()[0].id, weather);
        take(&mut waiting, json!({"type": "user.interrupt"}));
        take(&mut waiting, json!({"type": "session.status_running"}));
        take(
            &mut waiting,
            json!({"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}),
        );
        assert!(waiting.calls().is_empty() && waiting.ids().is_empty());
    }
}
