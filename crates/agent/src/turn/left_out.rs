//! What the model API refuses, whatever is done, does not stay in the conversation: every later request would be refused
//! with it.

use super::Turn;
use crate::conversation::Conversation;
use crate::model::CallError;
use serde_json::{Value, json};
use stream_json::Block;

/// Of a block that may be what makes a prompt too long.
const LARGE_BYTES: usize = 64 << 10;

impl Turn<'_> {
    /// After a request that will not be better for being made again.
    pub(super) fn leave_out_what_was_refused(&mut self, error: &CallError) {
        let conversation = &mut self.work.conversation;
        if error.is_prompt_too_long() {
            leave_out_large(conversation);
        } else if error.is_refused_file() {
            leave_out_files(conversation);
        }
    }
}

/// Of the prompt that was not answered.
fn leave_out_large(conversation: &mut Conversation) {
    for block in conversation.unanswered() {
        let bytes = match &*block {
            Block::Text { text, .. } => text.len(),
            Block::Other(other) => Value::Object(other.clone()).to_string().len(),
            _ => 0,
        };
        if bytes > LARGE_BYTES {
            *block = Block::text(format!(
                "[{bytes} bytes of this message were left out: it was too long for the model, which has not seen them]"
            ));
        }
    }
}

/// Of the prompt that was not answered; where it has none, all there are.
fn leave_out_files(conversation: &mut Conversation) {
    let mut left_out = false;
    for block in conversation.unanswered() {
        left_out |= leave_out_file(block);
    }
    if !left_out {
        for block in conversation.blocks() {
            leave_out_file(block);
        }
    }
}

/// Whether it was one, or held one.
fn leave_out_file(block: &mut Block) -> bool {
    match block {
        Block::Other(other) if is_file(other.get("type")) => {
            *block = Block::text(note(other.get("type")));
            true
        }
        Block::ToolResult {
            content: Value::Array(parts),
            ..
        } => {
            let mut left_out = false;
            for part in parts.iter_mut().filter(|part| is_file(part.get("type"))) {
                *part = json!({"type": "text", "text": note(part.get("type"))});
                left_out = true;
            }
            left_out
        }
        _ => false,
    }
}

fn is_file(kind: Option<&Value>) -> bool {
    kind.is_some_and(|kind| kind == "image" || kind == "document")
}

fn note(kind: Option<&Value>) -> String {
    let kind = kind.and_then(Value::as_str).unwrap_or("file");
    format!("[{kind} left out: the model API did not take it, and the model has not seen it]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream_json::Role;

    fn block(json: Value) -> Block {
        serde_json::from_value(json).unwrap()
    }

    fn image() -> Value {
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}})
    }

    fn written(conversation: &Conversation) -> String {
        conversation
            .messages()
            .iter()
            .map(|message| serde_json::to_string(&message.content).unwrap())
            .collect()
    }

    #[test]
    fn a_file_of_the_last_prompt_goes_first_and_then_every_other() {
        let mut conversation = Conversation::default();
        conversation.push(Role::User, [block(image()), Block::text("first")]);
        conversation.push(Role::Assistant, [Block::text("seen")]);
        conversation.push(Role::User, [Block::text("second"), block(image())]);
        leave_out_files(&mut conversation);
        assert_eq!(written(&conversation).matches("base64").count(), 1);
        assert!(written(&conversation).contains("[image left out: "));
        conversation.push(Role::User, [Block::tool_result("t", json!([image()]), false)]);
        leave_out_files(&mut conversation);
        leave_out_files(&mut conversation);
        assert_eq!(written(&conversation).matches("base64").count(), 0);
        assert!(written(&conversation).contains("first") && written(&conversation).contains("second"));
    }

    #[test]
    fn what_was_answered_stays_however_large_it_is() {
        let large = "x".repeat(LARGE_BYTES + 1);
        let mut conversation = Conversation::default();
        conversation.push(Role::User, [Block::text(large.clone())]);
        conversation.push(Role::Assistant, [Block::text("seen")]);
        conversation.push(Role::User, [Block::text("small"), Block::text(large.clone())]);
        leave_out_large(&mut conversation);
        assert_eq!(written(&conversation).matches(&large).count(), 1);
        assert!(written(&conversation).contains("small"));
        assert!(written(&conversation).contains("65537 bytes of this message were left out"));
    }
}
