//! A Messages API request, as far as a script can ask about it, refused where the real API refuses it.

use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;

/// What the real API allows in one request.
const MAX_CACHE_BREAKPOINTS: usize = 4;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MessagesRequest {
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) max_tokens: Option<u64>,
    #[serde(default)]
    pub(crate) stream: bool,
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    pub(crate) system: Value,
    #[serde(default)]
    pub(crate) tools: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) content: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    User,
    Assistant,
    /// In the middle of a conversation.
    System,
}

/// The results of the tools that the last turn used, together.
pub(crate) struct ToolResult {
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

impl MessagesRequest {
    /// The request, or the message of the `invalid_request_error` that the API answers with.
    pub(crate) fn parse(body: &[u8], needs_max_tokens: bool) -> Result<Self, String> {
        let request: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if request.messages.is_empty() {
            return Err("messages: at least one message is required".to_owned());
        }
        if needs_max_tokens && request.max_tokens.unwrap_or(0) == 0 {
            return Err("max_tokens: Field required".to_owned());
        }
        let breakpoints = request.cache_breakpoints();
        if breakpoints > MAX_CACHE_BREAKPOINTS {
            return Err(format!(
                "A maximum of 4 blocks with cache_control may be provided. Found {breakpoints}."
            ));
        }
        request.check_tool_results()?;
        Ok(request)
    }

    /// How many assistant turns there were; messages of one turn that stand next to each other count once.
    pub(crate) fn position(&self) -> usize {
        let roles = || self.messages.iter().map(|message| message.role);
        let mut previous = None;
        roles()
            .filter(|role| {
                let starts = *role == Role::Assistant && previous != Some(Role::Assistant);
                previous = Some(*role);
                starts
            })
            .count()
    }

    pub(crate) fn last_user_text(&self) -> String {
        self.user_texts().last().unwrap_or_default()
    }

    pub(crate) fn first_user_text(&self) -> String {
        self.user_texts().next().unwrap_or_default()
    }

    /// Whether the last user message that has any text has a block of this type.
    pub(crate) fn last_user_has(&self, kind: &str) -> bool {
        let mut users = self.messages.iter().filter(|message| message.role == Role::User);
        let last = users.rfind(|message| !texts(&message.content).is_empty());
        last.is_some_and(|message| {
            let blocks = message.content.as_array().map(Vec::as_slice).unwrap_or_default();
            blocks.iter().any(|block| block["type"] == kind)
        })
    }

    fn user_texts(&self) -> impl Iterator<Item = String> {
        let users = self.messages.iter().filter(|message| message.role == Role::User);
        users
            .map(|message| texts(&message.content))
            .filter(|text| !text.is_empty())
    }

    pub(crate) fn last_tool_result(&self) -> Option<ToolResult> {
        let since = self
            .messages
            .iter()
            .rposition(|message| message.role == Role::Assistant)?
            + 1;
        let results: Vec<&Value> = self.messages[since..]
            .iter()
            .flat_map(|message| blocks(&message.content, "tool_result"))
            .collect();
        if results.is_empty() {
            return None;
        }
        Some(ToolResult {
            text: results
                .iter()
                .map(|result| texts(&result["content"]))
                .collect::<Vec<_>>()
                .join("\n"),
            is_error: results
                .iter()
                .any(|result| result["is_error"] == Value::Bool(true)),
        })
    }

    pub(crate) fn system_text(&self) -> String {
        texts(&self.system)
    }

    pub(crate) fn has_tool(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool["name"] == name)
    }

    pub(crate) fn cache_breakpoints(&self) -> usize {
        let contents = self.messages.iter().map(|message| &message.content);
        let marked = |value: &Value| {
            value
                .get("cache_control")
                .is_some_and(|control| !control.is_null())
        };
        let in_list = |value: &Value| match value {
            Value::Array(items) => items.iter().filter(|item| marked(item)).count(),
            _ => 0,
        };
        in_list(&self.system)
            + self.tools.iter().filter(|tool| marked(tool)).count()
            + contents.map(in_list).sum::<usize>()
    }

    /// Each `tool_use` is followed by its result, and each result follows its `tool_use`.
    fn check_tool_results(&self) -> Result<(), String> {
        let mut open: HashSet<&str> = HashSet::new();
        for (number, message) in self.messages.iter().enumerate() {
            match message.role {
                Role::System => {}
                Role::Assistant => {
                    let used = blocks(&message.content, "tool_use");
                    open.extend(used.filter_map(|block| block["id"].as_str()));
                }
                Role::User => {
                    for result in blocks(&message.content, "tool_result") {
                        let id = result["tool_use_id"].as_str().unwrap_or_default();
                        if !open.remove(id) {
                            return Err(format!(
                                "messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each \
                                 `tool_result` block must have a corresponding `tool_use` block in the previous message."
                            ));
                        }
                    }
                    if let Some(id) = open.iter().next() {
                        return Err(format!(
                            "messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately \
                             after: {id}. Each `tool_use` block must have a corresponding `tool_result` block in the \
                             next message."
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

fn blocks<'value>(content: &'value Value, kind: &'static str) -> impl Iterator<Item = &'value Value> {
    let list = content.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter(move |block| block["type"] == kind)
}

/// A string, or the texts of a list of blocks.
fn texts(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(_) => {
            let found: Vec<&str> = blocks(content, "text")
                .filter_map(|block| block["text"].as_str())
                .collect();
            found.join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(messages: &Value) -> Result<MessagesRequest, String> {
        let body = json!({"model": "m", "max_tokens": 1, "messages": messages}).to_string();
        MessagesRequest::parse(body.as_bytes(), true)
    }

    fn tool_loop(result: &Value) -> Value {
        json!([
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "Bash", "input": {}}]},
            {"role": "user", "content": [result]},
        ])
    }

    #[test]
    fn the_position_is_the_number_of_assistant_turns() {
        let turn = |role: &str| json!({"role": role, "content": "x"});
        for (roles, position) in [
            (vec!["user"], 0),
            (vec!["user", "assistant", "user"], 1),
            (
                vec!["user", "assistant", "assistant", "user", "assistant", "user"],
                2,
            ),
        ] {
            let messages: Vec<Value> = roles.into_iter().map(turn).collect();
            assert_eq!(parse(&json!(messages)).unwrap().position(), position);
        }
    }

    #[test]
    fn tool_results_are_read_in_both_shapes() {
        let plain = json!({"type": "tool_result", "tool_use_id": "a", "content": "out", "is_error": true});
        let listed =
            json!({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "out"}]});
        for (result, is_error) in [(plain, true), (listed, false)] {
            let request = parse(&tool_loop(&result)).unwrap();
            let found = request.last_tool_result().unwrap();
            assert_eq!((found.text.as_str(), found.is_error), ("out", is_error));
            assert_eq!(request.last_user_text(), "first");
        }
    }

    #[test]
    fn a_result_without_its_use_and_a_use_without_its_result_are_refused() {
        let stray = json!({"type": "tool_result", "tool_use_id": "b", "content": "out"});
        assert!(
            parse(&tool_loop(&stray))
                .unwrap_err()
                .contains("unexpected `tool_use_id`")
        );
        let missing = json!({"type": "text", "text": "go on"});
        assert!(
            parse(&tool_loop(&missing))
                .unwrap_err()
                .contains("without `tool_result`")
        );
    }

    #[test]
    fn more_than_four_cache_breakpoints_are_refused() {
        let block = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
        let content: Vec<&Value> = std::iter::repeat_n(&block, 5).collect();
        assert!(
            parse(&json!([{"role": "user", "content": content}]))
                .unwrap_err()
                .contains("Found 5")
        );
    }
}
