//! Calls that a session was left with: found again in its transcript, to be run as if the model had just asked.

use crate::conversation::Conversation;
use crate::transcript::{Body, Loaded};
use crate::turn::Call;
use stream_json::Block;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReopenError {
    #[error(
        "Error: --run-tool-uses names {id}, which is not a tool use of the session's last reply without a result"
    )]
    NotOpen { id: String },
    #[error("Error: --run-tool-uses cannot go on: the session has no messages")]
    NoMessages,
}

/// The calls named, in the order in which the model made them.
pub(crate) fn calls(
    loaded: &Loaded,
    conversation: &Conversation,
    ids: &[String],
) -> Result<Vec<Call>, ReopenError> {
    if conversation.is_empty() {
        return Err(ReopenError::NoMessages);
    }
    let open = conversation.open_calls();
    if let Some(id) = ids.iter().find(|id| !open.contains(id)) {
        return Err(ReopenError::NotOpen {
            id: id.chars().take(200).collect(),
        });
    }
    let mut calls: Vec<Call> = Vec::new();
    for entry in &loaded.chain {
        let Body::Assistant { message, .. } = &entry.body else {
            continue;
        };
        for block in &message.content {
            if let Block::ToolUse { id, name, input, .. } = block
                && ids.contains(id)
            {
                // An id that an earlier reply had too is the last one's.
                calls.retain(|call| call.id != *id);
                calls.push(Call {
                    id: id.clone(),
                    name: name.clone(),
                    input: input.clone(),
                    line: entry.uuid.clone(),
                    bad_input: None,
                    was_cut_off: false,
                });
            }
        }
    }
    Ok(calls)
}
