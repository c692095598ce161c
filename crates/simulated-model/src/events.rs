//! An answer as server-sent events, one at a time and in the order of the real API.
//!
//! ```text
//! message_start
//!   (content_block_start  [ping, after the first]  content_block_delta*  content_block_stop)*
//! message_delta
//! message_stop
//! ```

use crate::answer::{Answer, Block, BlockKind};
use crate::tokens::Usage;
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;

/// What the first event says of the output: it has only begun.
const OUTPUT_TOKENS_AT_START: u64 = 1;

pub(crate) struct Event {
    pub(crate) bytes: Bytes,
    /// Before it is sent.
    pub(crate) delay: Duration,
    /// What a client that saw this event knows of the usage.
    pub(crate) usage: Option<Usage>,
}

pub(crate) struct Events {
    answer: Answer,
    next: Next,
}

enum Next {
    MessageStart,
    BlockStart {
        index: usize,
    },
    Ping,
    /// `done` counts bytes of a text, or units of a repeated one.
    Piece {
        index: usize,
        done: usize,
    },
    Signature {
        index: usize,
    },
    BlockStop {
        index: usize,
    },
    MessageDelta,
    MessageStop,
    End,
}

impl Events {
    pub(crate) fn new(answer: Answer) -> Self {
        Self {
            answer,
            next: Next::MessageStart,
        }
    }

    fn start_of(&self, index: usize) -> Next {
        if index < self.answer.blocks.len() {
            Next::BlockStart { index }
        } else {
            Next::MessageDelta
        }
    }

    /// Where a block goes on after its start.
    fn inside_of(&self, index: usize) -> Next {
        match self.answer.blocks[index].kind {
            BlockKind::RedactedThinking { .. } | BlockKind::ServerToolResult(_) => Next::BlockStop { index },
            _ => Next::Piece { index, done: 0 },
        }
    }

    fn message_start(&self) -> Event {
        let usage = Usage {
            output_tokens: OUTPUT_TOKENS_AT_START,
            ..self.answer.usage
        };
        let data = json!({"type": "message_start", "message": self.answer.to_start(usage)});
        Event {
            usage: Some(usage),
            ..event("message_start", &data)
        }
    }

    fn block_start(&self, index: usize) -> Event {
        let block = &self.answer.blocks[index];
        let content = match &block.kind {
            BlockKind::Text(_) | BlockKind::Repeat { .. } => json!({"type": "text", "text": ""}),
            BlockKind::Thinking { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
            BlockKind::RedactedThinking { data } => json!({"type": "redacted_thinking", "data": data}),
            BlockKind::ToolUse { id, name, .. } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": {}})
            }
            BlockKind::ServerToolUse { id, name, .. } => {
                json!({"type": "server_tool_use", "id": id, "name": name, "input": {}})
            }
            BlockKind::ServerToolResult(block) => block.clone(),
        };
        let data = json!({"type": "content_block_start", "index": index, "content_block": content});
        Event {
            delay: block.delay,
            ..event("content_block_start", &data)
        }
    }

    fn delta(&self, index: usize, delta: &Value) -> Event {
        let data = json!({"type": "content_block_delta", "index": index, "delta": delta});
        Event {
            delay: self.answer.chunk_delay,
            ..event("content_block_delta", &data)
        }
    }

    /// The next delta of a block, and how far it gets; nothing if the block is through.
    fn piece(&self, index: usize, done: usize) -> Option<(Event, usize)> {
        let block = &self.answer.blocks[index];
        let (delta, done) = match &block.kind {
            BlockKind::Text(text) => {
                let piece = cut(text, done, block)?;
                (json!({"type": "text_delta", "text": piece}), done + piece.len())
            }
            BlockKind::Repeat { unit, times } => {
                if done as u64 >= *times {
                    return None;
                }
                (json!({"type": "text_delta", "text": unit}), done + 1)
            }
            BlockKind::Thinking { text, .. } => {
                let piece = cut(text, done, block)?;
                (
                    json!({"type": "thinking_delta", "thinking": piece}),
                    done + piece.len(),
                )
            }
            BlockKind::ToolUse { text, .. } | BlockKind::ServerToolUse { text, .. } => {
                // The first delta of a tool's input is empty, so positions are one ahead.
                let Some(position) = done.checked_sub(1) else {
                    return Some((
                        self.delta(index, &json!({"type": "input_json_delta", "partial_json": ""})),
                        1,
                    ));
                };
                let piece = cut(text, position, block)?;
                (
                    json!({"type": "input_json_delta", "partial_json": piece}),
                    done + piece.len(),
                )
            }
            BlockKind::RedactedThinking { .. } | BlockKind::ServerToolResult(_) => return None,
        };
        Some((self.delta(index, &delta), done))
    }

    fn message_delta(&self) -> Event {
        let data = json!({
            "type": "message_delta",
            "delta": {"stop_reason": self.answer.stop_reason, "stop_sequence": null},
            "usage": self.answer.usage.to_delta_json(),
        });
        Event {
            usage: Some(self.answer.usage),
            ..event("message_delta", &data)
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (event, next) = match self.next {
            Next::MessageStart => (self.message_start(), self.start_of(0)),
            Next::BlockStart { index: 0 } => (self.block_start(0), Next::Ping),
            Next::BlockStart { index } => (self.block_start(index), self.inside_of(index)),
            Next::Ping => (ping(), self.inside_of(0)),
            Next::Piece { index, done } => {
                if let Some((event, done)) = self.piece(index, done) {
                    (event, Next::Piece { index, done })
                } else {
                    self.next = match self.answer.blocks[index].kind {
                        BlockKind::Thinking { .. } => Next::Signature { index },
                        _ => Next::BlockStop { index },
                    };
                    return self.next();
                }
            }
            Next::Signature { index } => {
                let signature = match &self.answer.blocks[index].kind {
                    BlockKind::Thinking { signature, .. } => signature.as_str(),
                    _ => "",
                };
                let delta = json!({"type": "signature_delta", "signature": signature});
                (self.delta(index, &delta), Next::BlockStop { index })
            }
            Next::BlockStop { index } => {
                let data = json!({"type": "content_block_stop", "index": index});
                (event("content_block_stop", &data), self.start_of(index + 1))
            }
            Next::MessageDelta => (self.message_delta(), Next::MessageStop),
            Next::MessageStop => (event("message_stop", &json!({"type": "message_stop"})), Next::End),
            Next::End => return None,
        };
        self.next = next;
        Some(event)
    }
}

pub(crate) fn ping() -> Event {
    event("ping", &json!({"type": "ping"}))
}

pub(crate) fn error(error_type: &str, message: &str) -> Event {
    event(
        "error",
        &json!({"type": "error", "error": {"type": error_type, "message": message}}),
    )
}

pub(crate) fn text_delta(index: usize, text: &str) -> Event {
    let delta = json!({"type": "text_delta", "text": text});
    event(
        "content_block_delta",
        &json!({"type": "content_block_delta", "index": index, "delta": delta}),
    )
}

fn event(name: &str, data: &Value) -> Event {
    let bytes = Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
    Event {
        bytes,
        delay: Duration::ZERO,
        usage: None,
    }
}

/// The next piece of a text; nothing at its end.
fn cut<'text>(text: &'text str, done: usize, block: &Block) -> Option<&'text str> {
    let rest = text.get(done..).filter(|rest| !rest.is_empty())?;
    let end = rest
        .char_indices()
        .nth(block.chunk)
        .map_or(rest.len(), |(end, _)| end);
    Some(&rest[..end])
}
