//! A runtime's transcript, made again from the log, for a conversation whose sandbox is gone. Pure.
//!
//! The log has what was said and done but not the model's thinking, so the transcript is shorter than the one that was
//! lost. Every tool call in it has a result, and what an operator added stands where the agent was told it: before a
//! message, after a result.

use crate::{custom_tools, message};
use domain::EventId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;
use wire::{Body, ContentBlock, LoggedEvent};

/// Longer conversations lose their beginning, up to a message of the user.
const MAX_BYTES: usize = 32 << 20;

/// What every line says.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub conversation: Uuid,
    pub model: &'a str,
    pub directory: &'a str,
    /// The message that is about to be delivered, and is not history.
    pub except: Option<&'a EventId>,
    /// Calls that are made again, and the ids that the runtime knows them by.
    pub open: Option<&'a BTreeMap<EventId, String>>,
}

/// The types of events that a transcript is made of.
pub const TYPES: [&str; 8] = [
    "user.message",
    "system.message",
    "user.custom_tool_result",
    "agent.custom_tool_use",
    "agent.message",
    "agent.tool_use",
    "agent.tool_result",
    "session.status_idle",
];

/// JSON lines; nothing if there is no conversation to go on with.
pub fn rebuild(mut events: Vec<LoggedEvent>, about: &About<'_>) -> Option<Vec<u8>> {
    leave_out(&mut events, about.except);
    // A message that was queued stands in the log where it came, and in the conversation where it was acted on.
    events.sort_by_key(|logged| (logged.event.processed_at, logged.seq));
    let first = beginning(&events);
    let mut open = BTreeSet::new();
    let mut lines = Lines {
        about,
        parent: None,
        text: Vec::new(),
    };
    let mut rest = events[first..].iter().peekable();
    while let Some(logged) = rest.next() {
        let at = logged.event.processed_at.unwrap_or(logged.created_at);
        let takes_note = matches!(
            logged.event.body,
            Body::UserMessage { .. } | Body::UserCustomToolResult { .. }
        );
        let is_note =
            |next: &&LoggedEvent| takes_note && matches!(next.event.body, Body::SystemMessage { .. });
        let note = rest.next_if(is_note);
        let notes = reminders(note);
        match &logged.event.body {
            Body::UserMessage { content } => {
                lines.close(&mut open, at);
                lines.user(&[notes, blocks(content)].concat(), at);
            }
            Body::SystemMessage { .. } => {
                lines.close(&mut open, at);
                lines.user(&reminders(Some(logged)), at);
            }
            Body::AgentMessage { content } => {
                lines.assistant(&blocks(content), at);
            }
            Body::AgentToolUse { name, input, .. } => {
                let id = lines.call(&logged.event.id, &mut open);
                let name = crate::runtime_tool_name(name);
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": input});
                lines.assistant(&[block], at);
            }
            Body::AgentCustomToolUse { name, input, .. } => {
                let id = lines.call(&logged.event.id, &mut open);
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": input});
                lines.assistant(&[block], at);
            }
            Body::AgentToolResult {
                tool_use_id,
                content,
                is_error,
            } if open.remove(tool_use_id) => {
                let content = blocks(content.as_deref().unwrap_or_default());
                lines.result(tool_use_id, &content, *is_error, at);
            }
            Body::UserCustomToolResult {
                custom_tool_use_id: tool_use_id,
                content,
                is_error,
                ..
            } if open.remove(tool_use_id) => {
                let content = custom_tools::told(content.as_deref(), *is_error);
                lines.result(tool_use_id, &[notes, content].concat(), *is_error, at);
            }
            _ => {}
        }
    }
    let last = events.last()?.created_at;
    lines.close(&mut open, last);
    Some(lines.text)
}

/// Drops what waits, what was dropped when a turn failed, and the message that is about to be delivered with what goes with it.
fn leave_out(events: &mut Vec<LoggedEvent>, except: Option<&EventId>) {
    // What is processed in the moment in which the session becomes idle begins no turn.
    let ends: BTreeSet<OffsetDateTime> = events
        .iter()
        .filter(|logged| matches!(logged.event.body, Body::SessionStatusIdle { .. }))
        .map(|logged| logged.created_at)
        .collect();
    let mut after = None;
    events.retain(|logged| {
        let goes_with_it =
            after == Some(logged.seq) && matches!(logged.event.body, Body::SystemMessage { .. });
        if Some(&logged.event.id) == except {
            after = Some(logged.seq + 1);
            return false;
        }
        let was_dropped = |at: OffsetDateTime| {
            let waits = matches!(
                logged.event.body,
                Body::UserMessage { .. } | Body::SystemMessage { .. }
            );
            waits && ends.contains(&at)
        };
        let processed = logged.event.processed_at;
        processed.is_some_and(|at| !was_dropped(at)) && !goes_with_it
    });
}

/// Where a conversation of a bearable size begins.
fn beginning(events: &[LoggedEvent]) -> usize {
    let mut bytes = 0;
    let mut first = events.len();
    for (at, logged) in events.iter().enumerate().rev() {
        bytes += serde_json::to_string(&logged.event).map_or(0, |text| text.len());
        if bytes > MAX_BYTES {
            break;
        }
        if matches!(logged.event.body, Body::UserMessage { .. }) {
            first = at;
        }
    }
    first
}

/// What of a content a model can be given.
fn blocks(content: &[ContentBlock]) -> Vec<Value> {
    content.iter().filter_map(message::block_json).collect()
}

fn reminders(note: Option<&LoggedEvent>) -> Vec<Value> {
    let notes = note
        .map(|logged| message::notes_of(&logged.event))
        .unwrap_or_default();
    let told = notes.iter().map(|note| message::reminder(note));
    told.map(|text| json!({"type": "text", "text": text})).collect()
}

struct Lines<'a> {
    about: &'a About<'a>,
    parent: Option<String>,
    text: Vec<u8>,
}

impl Lines<'_> {
    /// Notes a call as open, unless it is made again; answers the id that the runtime is to know it by.
    fn call(&self, event: &EventId, open: &mut BTreeSet<EventId>) -> String {
        if let Some(id) = self.about.open.and_then(|again| again.get(event)) {
            return id.clone();
        }
        open.insert(event.clone());
        event.to_string()
    }

    fn user(&mut self, content: &[Value], at: OffsetDateTime) {
        self.line("user", &json!({"role": "user", "content": content}), at);
    }

    fn assistant(&mut self, content: &[Value], at: OffsetDateTime) {
        let message = json!({
            "id": format!("msg_{}", Uuid::new_v4().simple()), "type": "message", "role": "assistant",
            "model": self.about.model, "content": content, "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        });
        self.line("assistant", &message, at);
    }

    fn result(&mut self, id: &EventId, content: &[Value], is_error: Option<bool>, at: OffsetDateTime) {
        let mut block = json!({"type": "tool_result", "tool_use_id": id, "content": content});
        if is_error == Some(true) {
            block["is_error"] = true.into();
        }
        self.user(&[block], at);
    }

    /// Gives calls without a result the result that they were interrupted.
    fn close(&mut self, open: &mut BTreeSet<EventId>, at: OffsetDateTime) {
        for id in std::mem::take(open) {
            if let Body::AgentToolResult {
                tool_use_id,
                content,
                is_error,
            } = crate::interrupted(id)
            {
                let content = blocks(content.as_deref().unwrap_or_default());
                self.result(&tool_use_id, &content, is_error, at);
            }
        }
    }

    fn line(&mut self, kind: &str, message: &Value, at: OffsetDateTime) {
        let uuid = Uuid::new_v4().to_string();
        let line = json!({
            "type": kind, "uuid": uuid, "parentUuid": self.parent, "sessionId": self.about.conversation,
            "timestamp": at.format(&Rfc3339).unwrap_or_default(), "isSidechain": false,
            "cwd": self.about.directory, "userType": "external", "message": message,
        });
        self.text.extend(line.to_string().into_bytes());
        self.text.push(b'\n');
        self.parent = Some(uuid);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::Duration;
    use wire::Event;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn log(bodies: Vec<Body>) -> Vec<LoggedEvent> {
        (1..)
            .zip(bodies)
            .map(|(seq, body)| {
                let at = START + Duration::seconds(seq as i64);
                LoggedEvent {
                    seq,
                    created_at: at,
                    event: Event::new(body, at),
                }
            })
            .collect()
    }

    fn user(text: &str) -> Body {
        Body::UserMessage {
            content: vec![ContentBlock::text(text)],
        }
    }

    fn tool_use() -> Body {
        let input = serde_json::from_str("{\"command\":\"ls\"}").unwrap();
        Body::AgentToolUse {
            name: "bash".into(),
            input,
            evaluated_permission: None,
            evaluation: None,
            session_thread_id: None,
        }
    }

    fn lines(events: Vec<LoggedEvent>) -> Vec<Value> {
        let conversation = Uuid::nil();
        let about = About {
            conversation,
            model: "m",
            directory: "/workspace",
            except: None,
            open: None,
        };
        let text = String::from_utf8(rebuild(events, &about).unwrap_or_default()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn lines_are_chained_and_a_call_without_a_result_is_interrupted() {
        let lines = lines(log(vec![user("hi"), tool_use()]));
        let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["user", "assistant", "user"]);
        for pair in lines.windows(2) {
            assert_eq!(pair[1]["parentUuid"], pair[0]["uuid"]);
        }
        assert_eq!(lines[0]["parentUuid"], Value::Null);
        let (call, result) = (
            &lines[1]["message"]["content"][0],
            &lines[2]["message"]["content"][0],
        );
        assert_eq!(
            (&call["name"], &call["input"]["command"]),
            (&json!("Bash"), &json!("ls"))
        );
        assert_eq!(
            (&result["tool_use_id"], &result["is_error"]),
            (&call["id"], &json!(true))
        );
    }

    #[test]
    fn a_message_stands_where_it_was_acted_on() {
        let agent = |text: &str| Body::AgentMessage {
            content: vec![ContentBlock::text(text)],
        };
        let mut events = log(vec![
            user("one"),
            user("two"),
            agent("to one"),
            agent("to two"),
            user("waits"),
        ]);
        events[1].event.processed_at = Some(START + Duration::milliseconds(3500));
        events[4].event.processed_at = None;
        let texts: Vec<String> = lines(events)
            .iter()
            .map(|line| line["message"]["content"][0]["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(texts, ["one", "to one", "two", "to two"]);
    }

    #[test]
    fn a_call_that_is_made_again_is_left_open_under_the_runtimes_id() {
        let events = log(vec![user("hi"), tool_use(), tool_use()]);
        let open = BTreeMap::from([(events[2].event.id.clone(), "toolu_1".to_owned())]);
        let about = About {
            conversation: Uuid::nil(),
            model: "m",
            directory: "/workspace",
            except: None,
            open: Some(&open),
        };
        let first = events[1].event.id.clone();
        let text = String::from_utf8(rebuild(events, &about).unwrap()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[2]["message"]["content"][0]["id"], "toolu_1");
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[3]["message"]["content"][0]["tool_use_id"],
            first.to_string()
        );
    }

    #[test]
    fn the_result_of_a_custom_tool_is_the_clients() {
        let call = Body::AgentCustomToolUse {
            name: "weather".into(),
            input: serde_json::Map::new(),
            session_thread_id: None,
        };
        let mut events = log(vec![user("hi"), call]);
        let result = Body::UserCustomToolResult {
            custom_tool_use_id: events[1].event.id.clone(),
            content: Some(vec![ContentBlock::text("sunny")]),
            is_error: None,
            session_thread_id: None,
        };
        let mut more = log(vec![user(""), user(""), result]);
        events.push(more.remove(2));
        let lines = lines(events);
        assert_eq!(lines[1]["message"]["content"][0]["name"], "weather");
        let result = &lines[2]["message"]["content"][0];
        assert_eq!(result["content"][0]["text"], "sunny");
    }

    fn system(text: &str) -> Body {
        Body::SystemMessage {
            content: vec![wire::Text { text: text.into() }],
        }
    }

    fn texts(line: &Value) -> Vec<&str> {
        let content = &line["message"]["content"];
        let content = if content[0]["type"] == "tool_result" {
            &content[0]["content"]
        } else {
            content
        };
        let blocks = content.as_array().unwrap().iter();
        blocks.map(|block| block["text"].as_str().unwrap()).collect()
    }

    #[test]
    fn what_an_operator_added_stands_where_the_agent_was_told_it() {
        let call = Body::AgentCustomToolUse {
            name: "weather".into(),
            input: serde_json::Map::new(),
            session_thread_id: None,
        };
        let mut events = log(vec![
            user("hi"),
            system("be brief"),
            call,
            user(""),
            system("in Celsius"),
        ]);
        let found = json!([{"type": "search_result", "source": "https://x", "title": "Ulm",
            "content": [{"type": "text", "text": "sunny"}], "citations": {"enabled": false}}]);
        events[3].event.body = Body::UserCustomToolResult {
            custom_tool_use_id: events[2].event.id.clone(),
            content: serde_json::from_value(found).unwrap(),
            is_error: None,
            session_thread_id: None,
        };
        let lines = lines(events);
        let brief = "<system-reminder>\nbe brief\n</system-reminder>";
        let celsius = "<system-reminder>\nin Celsius\n</system-reminder>";
        assert_eq!(texts(&lines[0]), [brief, "hi"]);
        assert_eq!(texts(&lines[2]), [celsius, "Ulm\nhttps://x\n\nsunny"]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn what_was_dropped_when_a_turn_failed_was_never_said() {
        let idle = Body::SessionStatusIdle {
            stop_reason: wire::StopReason::RetriesExhausted,
            stop_details: None,
        };
        let mut events = log(vec![user("one"), user("two"), system("b"), idle, user("three")]);
        for at in [1, 2] {
            events[at].event.processed_at = Some(events[3].created_at);
        }
        let lines = lines(events);
        let said: Vec<_> = lines.iter().map(texts).collect();
        assert_eq!(said, [["one"], ["three"]]);
    }

    #[test]
    fn what_goes_with_the_message_that_is_about_to_be_delivered_is_no_history() {
        let events = log(vec![user("one"), system("a"), user("two"), system("b")]);
        let two = events[2].event.id.clone();
        let about = About {
            conversation: Uuid::nil(),
            model: "m",
            directory: "/workspace",
            except: Some(&two),
            open: None,
        };
        let text = String::from_utf8(rebuild(events, &about).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("\\na\\n"), "{text}");
    }

    #[test]
    fn without_a_conversation_there_is_no_transcript() {
        assert!(lines(Vec::new()).is_empty());
    }

    #[test]
    fn a_conversation_that_is_too_long_begins_with_a_later_message() {
        let big = "x".repeat(MAX_BYTES / 3 * 2);
        let lines = lines(log(vec![
            user("first"),
            user(&big),
            tool_use(),
            user(&big),
            tool_use(),
        ]));
        let texts: Vec<usize> = lines
            .iter()
            .filter_map(|line| line["message"]["content"][0]["text"].as_str())
            .map(str::len)
            .collect();
        assert_eq!(texts, [big.len()]);
        assert_eq!(lines[0]["parentUuid"], Value::Null);
    }
}
