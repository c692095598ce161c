//! The messages the model sees, always in a form the API accepts: roles alternate and every `tool_use` has its result.

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use stream_json::{Block, Role};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) content: Vec<Block>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Conversation {
    messages: Vec<Message>,
}

impl Conversation {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds blocks to the last message of the same role, or begins one. Empty text is no block to the API.
    pub(crate) fn push(&mut self, role: Role, blocks: impl IntoIterator<Item = Block>) {
        let blocks = blocks.into_iter().filter(|block| block.as_text() != Some(""));
        match self.messages.last_mut() {
            Some(last) if last.role == role => last.content.extend(blocks),
            _ => {
                let content: Vec<Block> = blocks.collect();
                if !content.is_empty() {
                    self.messages.push(Message { role, content });
                }
            }
        }
    }

    /// The calls of the last assistant message that have no result yet.
    pub(crate) fn open_calls(&self) -> Vec<String> {
        let Some(at) = self
            .messages
            .iter()
            .rposition(|message| message.role == Role::Assistant)
        else {
            return Vec::new();
        };
        let answered: HashSet<&str> = self.messages[at + 1..]
            .iter()
            .flat_map(|message| &message.content)
            .filter_map(|block| match block {
                Block::ToolResult { tool_use_id, .. } => Some(tool_use_id.as_str()),
                _ => None,
            })
            .collect();
        self.messages[at]
            .content
            .iter()
            .filter_map(|block| match block {
                Block::ToolUse { id, .. } if !answered.contains(id.as_str()) => Some(id.clone()),
                _ => None,
            })
            .collect()
    }

    /// Whether the last message is the model's own.
    pub(crate) fn ends_with_reply(&self) -> bool {
        self.messages
            .last()
            .is_some_and(|message| message.role == Role::Assistant)
    }

    /// Puts the results of a reply's calls, which came in the order of their ends, in the order of the calls.
    pub(crate) fn order_results(&mut self, ids: &[&str]) {
        let Some(last) = self
            .messages
            .last_mut()
            .filter(|message| message.role == Role::User)
        else {
            return;
        };
        last.content.sort_by_key(|block| match block {
            Block::ToolResult { tool_use_id, .. } => {
                ids.iter().position(|id| id == tool_use_id).unwrap_or(ids.len())
            }
            _ => ids.len(),
        });
    }

    /// What the model has not answered: the last message of the user's, if nothing follows it.
    pub(crate) fn unanswered(&mut self) -> impl Iterator<Item = &mut Block> {
        let last = self.messages.last_mut();
        let last = last.filter(|message| message.role == Role::User);
        last.into_iter().flat_map(|message| &mut message.content)
    }

    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut Block> {
        self.messages.iter_mut().flat_map(|message| &mut message.content)
    }

    /// Puts a summary in the place of everything so far.
    pub(crate) fn replace_with(&mut self, summary: Block) {
        self.messages = vec![Message {
            role: Role::User,
            content: vec![summary],
        }];
    }

    /// Forgets the oldest half, up to a user message that answers no call; whether there was one.
    pub(crate) fn drop_oldest_half(&mut self) -> bool {
        let half = self.messages.len() / 2;
        let begins = |message: &Message| {
            message.role == Role::User
                && !message
                    .content
                    .iter()
                    .any(|block| matches!(block, Block::ToolResult { .. }))
        };
        let Some(at) = (half.max(1)..self.messages.len()).find(|&at| begins(&self.messages[at])) else {
            return false;
        };
        self.messages.drain(..at);
        true
    }

    /// About how many tokens it is, at four bytes each; for a first look before the API has counted.
    pub(crate) fn estimated_tokens(&self) -> u64 {
        let bytes: usize = self
            .messages
            .iter()
            .flat_map(|message| &message.content)
            .map(|block| match block {
                Block::Text { text, .. }
                | Block::ToolResult {
                    content: Value::String(text),
                    ..
                } => text.len(),
                Block::Thinking { thinking, .. } => thinking.len(),
                Block::ToolUse { input, .. } => input.to_string().len(),
                Block::ToolResult { content, .. } => content.to_string().len().min(20_000),
                Block::Other(_) => 6_000,
            })
            .sum();
        bytes as u64 / 4
    }

    /// The messages as the API takes them. `cache` marks the last block of the last message.
    pub(crate) fn to_request(&self, cache: Option<&Value>) -> Vec<RequestMessage<'_>> {
        let mut messages: Vec<RequestMessage<'_>> = Vec::with_capacity(self.messages.len());
        for message in &self.messages {
            let usable = message.role == Role::User || message.content.iter().any(is_more_than_thinking);
            if !usable {
                continue;
            }
            let content = message.content.iter().map(RequestBlock::Plain);
            match messages.last_mut() {
                Some(last) if last.role == message.role => last.content.extend(content),
                _ => messages.push(RequestMessage {
                    role: message.role,
                    content: content.collect(),
                }),
            }
        }
        for message in &mut messages {
            if message.role == Role::Assistant {
                while message
                    .content
                    .last()
                    .is_some_and(|block| !block.is_more_than_thinking())
                {
                    message.content.pop();
                }
            }
        }
        if let (Some(cache), Some(last)) = (
            cache,
            messages.last_mut().and_then(|message| message.content.last_mut()),
        ) {
            last.mark(cache);
        }
        messages
    }
}

fn is_more_than_thinking(block: &Block) -> bool {
    match block {
        Block::Thinking { .. } => false,
        Block::Other(other) => other.get("type").and_then(Value::as_str) != Some("redacted_thinking"),
        _ => true,
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct RequestMessage<'a> {
    role: Role,
    content: Vec<RequestBlock<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum RequestBlock<'a> {
    Plain(&'a Block),
    Marked(Value),
}

impl RequestBlock<'_> {
    fn is_more_than_thinking(&self) -> bool {
        match self {
            Self::Plain(block) => is_more_than_thinking(block),
            Self::Marked(_) => true,
        }
    }

    fn mark(&mut self, cache: &Value) {
        let Self::Plain(block) = self else { return };
        if let Ok(mut value) = serde_json::to_value(block) {
            value["cache_control"] = cache.clone();
            *self = Self::Marked(value);
        }
    }
}

/// The result the model is given for a call that did not end.
pub(crate) fn interrupted_result(tool_use_id: &str) -> Block {
    let text = "[Tool call interrupted: the session ended before it finished, so what it did is not known.]";
    Block::tool_result(tool_use_id, json!(text), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Block {
        serde_json::from_value(json!({"type":"tool_use","id":id,"name":"Bash","input":{}})).unwrap()
    }

    fn thinking() -> Block {
        serde_json::from_value(json!({"type":"thinking","thinking":"hm","signature":"s"})).unwrap()
    }

    #[test]
    fn results_are_put_in_the_order_of_their_calls_and_other_blocks_stay_behind_them() {
        let mut conversation = Conversation::default();
        conversation.push(Role::Assistant, [call("a"), call("b"), call("c")]);
        conversation.order_results(&["a", "b", "c"]);
        let result = |id: &str| Block::tool_result(id, json!("x"), false);
        conversation.push(
            Role::User,
            [result("c"), result("a"), Block::text("said"), result("b")],
        );
        conversation.order_results(&["a", "b", "c"]);
        assert_eq!(
            conversation.messages()[1].content,
            [result("a"), result("b"), result("c"), Block::text("said")]
        );
    }

    #[test]
    fn open_calls_are_those_without_a_result() {
        let mut conversation = Conversation::default();
        conversation.push(Role::User, [Block::text("go")]);
        conversation.push(Role::Assistant, [call("a"), call("b")]);
        assert_eq!(conversation.open_calls(), ["a", "b"]);
        conversation.push(Role::User, [Block::tool_result("b", json!("x"), false)]);
        assert_eq!(conversation.open_calls(), ["a"]);
    }

    #[test]
    fn only_the_last_block_is_marked_for_the_cache() {
        let mut conversation = Conversation::default();
        conversation.push(Role::User, [Block::text("a"), Block::text("b")]);
        let cache = json!({"type":"ephemeral"});
        let request = serde_json::to_value(conversation.to_request(Some(&cache))).unwrap();
        assert_eq!(
            request,
            json!([{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}]}])
        );
    }

    #[test]
    fn thinking_that_led_to_nothing_is_not_replayed() {
        let mut conversation = Conversation::default();
        conversation.push(Role::User, [Block::text("a")]);
        conversation.push(Role::Assistant, [thinking()]);
        conversation.push(Role::User, [Block::text("b")]);
        conversation.push(Role::Assistant, [thinking(), Block::text("c"), thinking()]);
        let request = serde_json::to_value(conversation.to_request(None)).unwrap();
        assert_eq!(request.as_array().unwrap().len(), 2);
        assert_eq!(request[0]["content"].as_array().unwrap().len(), 2);
        assert_eq!(request[1]["content"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_oldest_half_goes_up_to_a_prompt_and_never_parts_a_call_from_its_result() {
        let mut conversation = Conversation::default();
        for id in ["a", "b"] {
            conversation.push(Role::User, [Block::text(id)]);
            conversation.push(Role::Assistant, [call(id)]);
            conversation.push(Role::User, [Block::tool_result(id, json!("x"), false)]);
            conversation.push(Role::Assistant, [Block::text("done")]);
        }
        assert!(conversation.drop_oldest_half());
        assert_eq!(conversation.messages()[0].content, [Block::text("b")]);
        assert!(!conversation.drop_oldest_half());
    }
}
