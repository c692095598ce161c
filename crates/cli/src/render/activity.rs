//! What the agent does, line by line as it happens: what it says, which tools it calls with what, and what came of it. Of
//! a whole conversation, what the user said too.

use domain::EventId;
use serde_json::{Map, Value};
use std::collections::HashMap;
use terminal::Style;
use terminal::text::{one_line, safe};
use wire::{Body, Confirmation, ContentBlock, Event, RetryStatus, StopReason};

/// The last lines of a command's output that are shown, and the first of an error.
const OUTPUT_LINES: usize = 4;
const ERROR_LINES: usize = 4;

/// Follows a session's log.
pub(crate) struct Activity {
    style: Style,
    width: usize,
    /// Tools that were called and have no result yet.
    open: HashMap<EventId, String>,
    /// What the agent said last: shown as progress only if it goes on, since the last word is the answer.
    said: Option<String>,
    /// The call whose line or result was shown last.
    last_call: Option<EventId>,
    status: String,
    /// Whether everything is shown here: then nobody else says what the user said, what came last and what went wrong.
    whole: bool,
    begun: bool,
}

impl Activity {
    pub(crate) fn new(style: Style, width: usize) -> Self {
        Self {
            style,
            width,
            open: HashMap::new(),
            said: None,
            last_call: None,
            status: "starting the sandbox".to_owned(),
            whole: false,
            begun: false,
        }
    }

    /// Of a whole conversation.
    pub(crate) fn whole(style: Style, width: usize) -> Self {
        Self {
            whole: true,
            ..Self::new(style, width)
        }
    }

    /// What the agent said last, as it is. It is not shown here any more.
    pub(crate) fn last_words(&mut self) -> Option<String> {
        self.said.take()
    }

    /// What is going on now.
    pub(crate) fn status(&self) -> &str {
        &self.status
    }

    /// The lines that an event adds.
    pub(crate) fn show(&mut self, event: &Event) -> Vec<String> {
        match &event.body {
            Body::AgentMessage { content } => {
                let lines = self.flush();
                self.said = Some(texts(content));
                "thinking".clone_into(&mut self.status);
                lines
            }
            Body::AgentToolUse { name, input, .. } => {
                let mut lines = self.flush();
                lines.push(self.call(name, input));
                self.status = format!("{} is running", one_line(name, 40));
                self.open.insert(event.id.clone(), name.clone());
                self.last_call = Some(event.id.clone());
                lines
            }
            Body::AgentCustomToolUse { name, input, .. } => {
                let mut lines = self.flush();
                lines.push(self.call(name, input));
                self.open.insert(event.id.clone(), name.clone());
                lines
            }
            Body::AgentToolResult {
                tool_use_id,
                content,
                is_error,
            } => {
                let name = self.open.remove(tool_use_id);
                if self.open.is_empty() {
                    "thinking".clone_into(&mut self.status);
                }
                let output = texts(content.as_deref().unwrap_or_default());
                let mut lines = self.result(name.as_deref(), &output, *is_error == Some(true));
                // Of calls side by side, what is not below its own call says whose it is.
                if let Some(name) = name
                    && !lines.is_empty()
                    && self.last_call.replace(tool_use_id.clone()).as_ref() != Some(tool_use_id)
                {
                    lines.insert(0, self.style.dim(&format!("  of {}:", one_line(&name, 40))));
                }
                lines
            }
            Body::SessionError { error } if error.retry_status == RetryStatus::Retrying => {
                vec![
                    self.style
                        .yellow(&format!("  {}", one_line(&error.message, self.width - 2))),
                ]
            }
            Body::SessionError { error } if self.whole => {
                let mut lines = self.flush();
                lines.push(self.style.red(&format!("error: {}", safe(&error.message))));
                lines
            }
            Body::AgentThreadContextCompacted => {
                vec![
                    self.style
                        .dim("  the conversation became too long for the model and was summarised"),
                ]
            }
            Body::SpanModelRequestStart => {
                "thinking".clone_into(&mut self.status);
                Vec::new()
            }
            _ if self.whole => self.besides(event),
            _ => Vec::new(),
        }
    }

    /// What the agent does not do itself.
    fn besides(&mut self, event: &Event) -> Vec<String> {
        let mut lines = Vec::new();
        match &event.body {
            Body::UserMessage { content } => {
                lines = self.flush();
                if std::mem::replace(&mut self.begun, true) {
                    lines.push(String::new());
                }
                lines.extend(self.message(content, event.processed_at.is_none()));
            }
            Body::SystemMessage { content } => {
                lines.extend(content.iter().map(|part| {
                    let text = one_line(&part.text, self.width.saturating_sub(10));
                    self.style.dim(&format!("  system: {text}"))
                }));
            }
            Body::UserInterrupt { .. } => lines.push(self.style.yellow("  interrupted")),
            Body::UserToolConfirmation {
                tool_use_id,
                result,
                deny_message,
                ..
            } => {
                let tool = self.open.get(tool_use_id).map_or("the call", String::as_str);
                let tool = one_line(tool, 40);
                lines.push(match (result, deny_message) {
                    (Confirmation::Allow, _) => self.style.dim(&format!("  {tool} is allowed")),
                    (Confirmation::Deny, None) => self.style.yellow(&format!("  {tool} is denied")),
                    (Confirmation::Deny, Some(why)) => {
                        let why = one_line(why, self.width.saturating_sub(tool.chars().count() + 14).max(20));
                        self.style.yellow(&format!("  {tool} is denied: {why}"))
                    }
                });
            }
            Body::UserCustomToolResult {
                custom_tool_use_id,
                content,
                is_error,
                ..
            } => {
                self.open.remove(custom_tool_use_id);
                let text = texts(content.as_deref().unwrap_or_default());
                let line = format!("    {}", one_line(&text, self.width.saturating_sub(4)));
                lines.push(match is_error {
                    Some(true) => self.style.red(&line),
                    _ => self.style.dim(&line),
                });
            }
            Body::SessionStatusIdle { stop_reason, .. } => {
                lines = self.flush();
                lines.extend(stopped(stop_reason).map(|text| self.style.yellow(&format!("  {text}"))));
            }
            Body::SessionStatusRescheduled => {
                lines.push(self.style.dim("  the turn was cut, and goes on"));
            }
            Body::SessionStatusTerminated | Body::SessionDeleted => {
                lines = self.flush();
                lines.push(self.style.dim("  the session has ended"));
            }
            _ => {}
        }
        lines
    }

    fn message(&self, content: &[ContentBlock], waits: bool) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for block in content {
            match block {
                ContentBlock::Text { text } => lines.extend(safe(text).lines().map(str::to_owned)),
                ContentBlock::Image { .. } => lines.push("[image]".to_owned()),
                ContentBlock::Document { title, .. } => lines.push(match title {
                    Some(title) => format!("[document: {}]", one_line(title, 60)),
                    None => "[document]".to_owned(),
                }),
                _ => lines.push("[something else]".to_owned()),
            }
        }
        let mut lines: Vec<String> = lines
            .iter()
            .map(|line| self.style.bold(&format!("> {line}")))
            .collect();
        if waits {
            lines.push(self.style.dim("  (waits for its turn)"));
        }
        lines
    }

    fn flush(&mut self) -> Vec<String> {
        let said = self.said.take().unwrap_or_default();
        safe(&said)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn call(&self, name: &str, input: &Map<String, Value>) -> String {
        format!(
            "{} {}",
            self.style.cyan("•"),
            call(name, input, self.style, self.width)
        )
    }

    fn result(&self, name: Option<&str>, text: &str, is_error: bool) -> Vec<String> {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let line = |line: &&str| format!("    {}", one_line(line, self.width - 4));
        if is_error && name != Some("bash") {
            let mut shown: Vec<String> = lines.iter().take(ERROR_LINES).map(line).collect();
            shown.extend(more(lines.len(), ERROR_LINES));
            return shown.into_iter().map(|line| self.style.red(&line)).collect();
        }
        if name != Some("bash") {
            return Vec::new();
        }
        // The first line of a failed command says how it failed; what it printed last says why.
        let head = usize::from(is_error && lines.len() > OUTPUT_LINES);
        let tail = lines.len().saturating_sub(OUTPUT_LINES).max(head);
        let mut shown: Vec<String> = lines[..head].iter().map(line).collect();
        shown.extend(more(lines.len(), head + lines.len() - tail));
        shown.extend(lines[tail..].iter().map(line));
        let paint = |line: String| {
            if is_error {
                self.style.red(&line)
            } else {
                self.style.dim(&line)
            }
        };
        shown.into_iter().map(paint).collect()
    }
}

/// A tool and what it is called with, in a line.
pub(crate) fn call(name: &str, input: &Map<String, Value>, style: Style, width: usize) -> String {
    let name = one_line(name, 40);
    let subject = one_line(
        &subject(&name, input),
        width.saturating_sub(name.chars().count() + 4).max(20),
    );
    format!("{}  {subject}", style.bold(&name))
}

/// Why an agent stopped that was not done.
fn stopped(reason: &StopReason) -> Option<&'static str> {
    match reason {
        StopReason::BudgetReached => Some("the budget is used up"),
        StopReason::Refusal => Some("the model refused to go on"),
        _ => None,
    }
}

fn more(lines: usize, shown: usize) -> Option<String> {
    (lines > shown).then(|| format!("    … {} more lines", lines - shown))
}

fn texts(content: &[ContentBlock]) -> String {
    content
        .iter()
        .filter_map(ContentBlock::as_text)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What a call is about: the command, the file, the pattern; the whole input of a tool that is not known.
fn subject(tool: &str, input: &Map<String, Value>) -> String {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    let path = |key: &str| {
        text(key)
            .strip_prefix("/workspace/")
            .unwrap_or(text(key))
            .to_owned()
    };
    match tool {
        "bash" => text("command").to_owned(),
        "read" | "write" | "edit" => path("file_path"),
        "grep" if input.contains_key("path") => format!("{}  in {}", text("pattern"), path("path")),
        "glob" | "grep" => text("pattern").to_owned(),
        "web_fetch" => text("url").to_owned(),
        "web_search" => text("query").to_owned(),
        _ => Value::Object(input.clone()).to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(body: Value) -> Event {
        let mut body = body;
        body["id"] = json!(EventId::random());
        body["processed_at"] = json!("2026-01-01T00:00:00Z");
        serde_json::from_value(body).unwrap()
    }

    fn shown(events: Vec<Value>) -> Vec<String> {
        let mut activity = Activity::new(Style::new(false), 60);
        events
            .into_iter()
            .flat_map(|body| activity.show(&event(body)))
            .collect()
    }

    fn text(text: &str) -> Value {
        json!([{ "type": "text", "text": text }])
    }

    #[test]
    fn what_was_said_is_shown_when_the_agent_goes_on_and_the_last_word_is_left() {
        let mut activity = Activity::new(Style::new(false), 60);
        assert_eq!(
            activity.show(&event(
                json!({"type": "agent.message", "content": text("I look.")})
            )),
            [""; 0]
        );
        let call = json!({"type": "agent.tool_use", "name": "bash", "input": {"command": "ls"}});
        assert_eq!(activity.show(&event(call)), ["I look.", "• bash  ls"]);
        let last = json!({"type": "agent.message", "content": text("Done.")});
        assert_eq!(
            activity.show(&event(last)),
            [""; 0],
            "it is the answer, for standard output"
        );
    }

    #[test]
    fn a_call_is_shown_by_what_it_is_about() {
        let call = |name: &str, input: Value| json!({"type": "agent.tool_use", "name": name, "input": input});
        assert_eq!(
            shown(vec![
                call(
                    "edit",
                    json!({"file_path": "/workspace/a/b.py", "old_string": "x"})
                ),
                call("read", json!({"file_path": "/etc/hosts"})),
                call("grep", json!({"pattern": "x+", "path": "/workspace/src"})),
                call("bash", json!({"command": "cat <<E\nlong\nE"})),
                call("odd\u{1b}[2J", json!({"k": 1})),
                call("bash", json!({"command": 7})),
            ]),
            [
                "• edit  a/b.py",
                "• read  /etc/hosts",
                "• grep  x+  in src",
                "• bash  cat <<E…",
                "• odd\\u{1b}[2J  {\"k\":1}",
                "• bash  ",
            ]
        );
    }

    #[test]
    fn of_a_command_the_end_is_shown_and_of_an_error_the_beginning() {
        let mut activity = Activity::new(Style::new(false), 60);
        let mut result = |name: &str, output: &str, is_error: bool| {
            let call = event(json!({"type": "agent.tool_use", "name": name, "input": {}}));
            activity.show(&call);
            activity.show(&event(json!({
                "type": "agent.tool_result", "tool_use_id": call.id, "content": text(output), "is_error": is_error,
            })))
        };
        let many = "1\n2\n3\n\n4\n5\n6";
        assert_eq!(
            result("bash", many, false),
            ["    … 2 more lines", "    3", "    4", "    5", "    6"]
        );
        assert_eq!(
            result("bash", many, true),
            ["    1", "    … 1 more lines", "    3", "    4", "    5", "    6"]
        );
        assert_eq!(
            result("edit", many, true),
            ["    1", "    2", "    3", "    4", "    … 2 more lines"]
        );
        assert_eq!(result("read", many, false), [""; 0]);
        assert_eq!(result("edit", "no match", true), ["    no match"]);
    }

    #[test]
    fn a_result_that_is_not_below_its_call_names_it() {
        let mut activity = Activity::new(Style::new(false), 60);
        let calls =
            ["bash", "glob"].map(|name| event(json!({"type": "agent.tool_use", "name": name, "input": {}})));
        for call in &calls {
            activity.show(call);
        }
        let mut result = |call: &Event| {
            activity.show(&event(json!({
                "type": "agent.tool_result", "tool_use_id": call.id, "content": text("x"), "is_error": true,
            })))
        };
        assert_eq!(result(&calls[0]), ["  of bash:", "    x"]);
        assert_eq!(result(&calls[1]), ["  of glob:", "    x"]);
    }

    #[test]
    fn of_a_whole_conversation_everything_is_shown_in_order() {
        let mut activity = Activity::whole(Style::new(false), 60);
        let asking =
            event(json!({"type": "agent.tool_use", "name": "bash", "input": {"command": "git push"}}));
        let custom =
            event(json!({"type": "agent.custom_tool_use", "name": "weather", "input": {"city": "Ulm"}}));
        let rest = [
            json!({"type": "user.tool_confirmation", "tool_use_id": asking.id, "result": "deny", "deny_message": "no\u{1b}[2J"}),
            json!({"type": "agent.message", "content": text("Then not.")}),
            json!({"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}),
            json!({"type": "user.message", "content": [{"type": "text", "text": "And\nnow?"}, {"type": "image", "source": {"type": "url", "url": "x"}}]}),
            json!({"type": "system.message", "content": text("be brief")}),
        ];
        let answer = json!({"type": "user.custom_tool_result", "custom_tool_use_id": custom.id, "content": text("sunny")});
        let end = [
            answer,
            json!({"type": "session.error", "error": {"type": "unknown_error", "message": "gone", "retry_status": {"type": "exhausted"}}}),
            json!({"type": "user.interrupt"}),
            json!({"type": "session.status_idle", "stop_reason": {"type": "budget_reached"}}),
        ];
        let first = event(json!({"type": "user.message", "content": text("Push it.")}));
        let events = [first, asking]
            .into_iter()
            .chain(rest.into_iter().map(event))
            .chain([custom])
            .chain(end.into_iter().map(event));
        let lines: Vec<String> = events.flat_map(|event| activity.show(&event)).collect();
        assert_eq!(
            lines,
            [
                "> Push it.",
                "• bash  git push",
                "  bash is denied: no\\u{1b}[2J",
                "Then not.",
                "",
                "> And",
                "> now?",
                "> [image]",
                "  system: be brief",
                "• weather  {\"city\":\"Ulm\"}",
                "    sunny",
                "error: gone",
                "  interrupted",
                "  the budget is used up",
            ]
        );
        let waits = json!({"id": EventId::random(), "type": "user.message", "content": text("later"), "processed_at": null});
        let waits = activity.show(&serde_json::from_value(waits).unwrap());
        assert_eq!(waits, ["", "> later", "  (waits for its turn)"]);
    }

    #[test]
    fn a_request_that_is_tried_again_is_said() {
        let error = json!({"type": "session.error", "error": {
            "type": "model_overloaded_error", "message": "the model request failed (status 529)",
            "retry_status": {"type": "retrying"},
        }});
        assert_eq!(shown(vec![error]), ["  the model request failed (status 529)"]);
    }
}
