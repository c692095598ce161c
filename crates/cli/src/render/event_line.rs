//! An event in one line: when, which, of what type, and what it says.

use crate::entry::Entry;
use crate::render::activity::call;
use crate::render::facts::used;
use serde_json::Value;
use terminal::Style;
use terminal::text::{grouped, one_line};
use time::OffsetDateTime;
use time::macros::format_description;
use wire::{Body, Confirmation, ContentBlock, EvaluatedPermission, Event, StopReason};

/// Of the columns before what it says.
const HEAD: usize = 19 + 2 + 31 + 2 + 26 + 2;
/// What it says has at least so many columns, however narrow the terminal.
const LEAST: usize = 40;

pub(crate) fn event_line(entry: &Entry, style: Style, width: usize) -> String {
    let columns = width.saturating_sub(HEAD).max(LEAST);
    let (when, says) = match &entry.event {
        Some(event) => (event.processed_at.map(second), says(event, style, columns)),
        None => (None, one_line(&entry.json, columns)),
    };
    let when = when.unwrap_or_else(|| "waits".to_owned());
    let id = entry.id.as_ref().map_or("", |id| id.as_str());
    let kind = one_line(&entry.kind, 40);
    format!(
        "{}  {}  {kind:<26}  {says}",
        style.dim(&format!("{when:<19}")),
        style.dim(&format!("{id:<31}"))
    )
    .trim_end()
    .to_owned()
}

fn second(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    moment
        .to_offset(time::UtcOffset::UTC)
        .format(&format)
        .unwrap_or_default()
}

fn says(event: &Event, style: Style, columns: usize) -> String {
    let line = |text: &str| one_line(text, columns);
    match &event.body {
        Body::UserMessage { content } | Body::AgentMessage { content } => line(&blocks(content)),
        Body::SystemMessage { content } => {
            let texts: Vec<&str> = content.iter().map(|part| part.text.as_str()).collect();
            line(&texts.join(" "))
        }
        Body::AgentToolUse {
            name,
            input,
            evaluated_permission,
            ..
        } => {
            let asks = *evaluated_permission == Some(EvaluatedPermission::Ask);
            let asks = if asks { "asks: " } else { "" };
            format!(
                "{asks}{}",
                call(name, input, style, columns.saturating_sub(asks.len()))
            )
        }
        Body::AgentCustomToolUse { name, input, .. } => call(name, input, style, columns),
        Body::AgentToolResult {
            tool_use_id: id,
            content,
            is_error,
        }
        | Body::UserCustomToolResult {
            custom_tool_use_id: id,
            content,
            is_error,
            ..
        } => {
            let text = blocks(content.as_deref().unwrap_or_default());
            let failed = if *is_error == Some(true) { "failed: " } else { "" };
            line(&format!("{id}  {failed}{text}"))
        }
        Body::UserToolConfirmation {
            tool_use_id: id,
            result,
            deny_message,
            ..
        } => match (result, deny_message) {
            (Confirmation::Allow, _) => format!("{id}  allow"),
            (Confirmation::Deny, None) => format!("{id}  deny"),
            (Confirmation::Deny, Some(why)) => line(&format!("{id}  deny: {why}")),
        },
        body => says_of_session(body, columns),
    }
}

/// What is not said by anybody.
fn says_of_session(body: &Body, columns: usize) -> String {
    let line = |text: &str| one_line(text, columns);
    match body {
        Body::SessionStatusIdle { stop_reason, .. } => match stop_reason {
            StopReason::RequiresAction { event_ids } => {
                let ids: Vec<&str> = event_ids.iter().map(domain::EventId::as_str).collect();
                format!("requires_action: {}", ids.join(" "))
            }
            other => line(other.kind()),
        },
        Body::SessionError { error } => {
            let kind = serde_json::to_value(&error.kind).unwrap_or_default();
            line(&format!(
                "{}: {}",
                kind.as_str().unwrap_or_default(),
                error.message
            ))
        }
        Body::SessionUsage { usage, .. } => used(usage),
        Body::SpanModelRequestEnd { model_usage, .. } => format!(
            "{} tokens in ({} from the cache), {} out",
            grouped(
                model_usage.input_tokens
                    + model_usage.cache_read_input_tokens
                    + model_usage.cache_creation_input_tokens
            ),
            grouped(model_usage.cache_read_input_tokens),
            grouped(model_usage.output_tokens)
        ),
        Body::SessionUpdated {
            agent,
            budget,
            metadata,
            title,
        } => changed([
            ("agent", agent),
            ("budget", budget),
            ("metadata", metadata),
            ("title", title),
        ]),
        Body::Unknown(_) => line(&serde_json::to_string(body).unwrap_or_default()),
        _ => String::new(),
    }
}

fn blocks(content: &[ContentBlock]) -> String {
    let words = content.iter().map(|block| match block {
        ContentBlock::Text { text } => text.as_str(),
        ContentBlock::Image { .. } => "[image]",
        ContentBlock::Document { .. } => "[document]",
        _ => "[something else]",
    });
    words.collect::<Vec<_>>().join(" ")
}

fn changed(fields: [(&str, &Option<Value>); 4]) -> String {
    let names: Vec<&str> = fields
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|_| name))
        .collect();
    names.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use domain::EventId;
    use serde_json::json;

    #[test]
    fn each_event_has_one_line_that_says_what_it_is() {
        let id = EventId::random();
        let other = EventId::random();
        let text = |text: &str| json!([{"type": "text", "text": text}]);
        let table = [
            (
                json!({"type": "user.message", "content": text("fix\nit")}),
                "user.message                fix…".to_owned(),
            ),
            (
                json!({"type": "agent.message", "content": text("\u{1b}[2J")}),
                "agent.message               \\u{1b}[2J".to_owned(),
            ),
            (
                json!({"type": "agent.tool_use", "name": "bash", "input": {"command": "ls"}, "evaluated_permission": "ask"}),
                "agent.tool_use              asks: bash  ls".to_owned(),
            ),
            (
                json!({"type": "agent.tool_result", "tool_use_id": other, "content": text("no"), "is_error": true}),
                format!("agent.tool_result           {other}  failed: no"),
            ),
            (
                json!({"type": "user.tool_confirmation", "tool_use_id": other, "result": "deny", "deny_message": "why"}),
                format!("user.tool_confirmation      {other}  deny: why"),
            ),
            (
                json!({"type": "session.status_idle", "stop_reason": {"type": "requires_action", "event_ids": [other]}}),
                format!("session.status_idle         requires_action: {other}"),
            ),
            (
                json!({"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}),
                "session.status_idle         end_turn".to_owned(),
            ),
            (
                json!({"type": "session.error", "error": {"type": "billing_error", "message": "pay", "retry_status": {"type": "terminal"}}}),
                "session.error               billing_error: pay".to_owned(),
            ),
            (
                json!({"type": "session.usage", "usage": {"input_tokens": 1200, "output_tokens": 7, "list_cost": {"amount": "105", "currency": "USD"}}}),
                "session.usage               $1.05, 1,200 tokens in (0 from the cache), 7 out".to_owned(),
            ),
            (
                json!({"type": "session.updated", "title": "x", "metadata": {}}),
                "session.updated             metadata, title".to_owned(),
            ),
            (json!({"type": "agent.thinking"}), "agent.thinking".to_owned()),
            (
                json!({"type": "session.new", "a": 1}),
                "session.new                 {\"a\":1,\"type\":\"session.new\"}".to_owned(),
            ),
        ];
        for (mut event, expected) in table {
            event["id"] = json!(id);
            event["processed_at"] = json!("2026-01-02T03:04:05Z");
            let entry = Entry::of_json(&event.to_string()).unwrap();
            let line = event_line(&entry, Style::new(false), 200);
            assert_eq!(line, format!("2026-01-02 03:04:05  {id}  {expected}"));
        }
        let entry = Entry::of_json(r#"{"type":"agent.message","content":"newer"}"#).unwrap();
        assert!(
            event_line(&entry, Style::new(false), 200)
                .ends_with(r#"{"type":"agent.message","content":"newer"}"#)
        );
    }
}
