//! A whole reply, ready to be played: its blocks with every variable replaced, its usage, its stop reason.

use crate::request::MessagesRequest;
use crate::script::{Step, Turn, WebSearch};
use crate::template;
use crate::tokens::{self, Usage};
use serde_json::{Value, json};
use std::time::Duration;

const TEXT_CHUNK: usize = 24;
const INPUT_CHUNK: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) stop_reason: String,
    pub(crate) usage: Usage,
    pub(crate) chunk_delay: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) kind: BlockKind,
    /// Characters in one delta.
    pub(crate) chunk: usize,
    pub(crate) delay: Duration,
}

#[derive(Debug, Clone)]
pub(crate) enum BlockKind {
    Text(String),
    Repeat {
        unit: String,
        times: u64,
    },
    Thinking {
        text: String,
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    /// `text` is the input as it is streamed.
    ToolUse {
        id: String,
        name: String,
        input: Value,
        text: String,
    },
    /// The same, of a tool that the API runs itself.
    ServerToolUse {
        id: String,
        name: &'static str,
        input: Value,
        text: String,
    },
    /// What such a tool gave: it comes whole.
    ServerToolResult(Value),
}

impl Answer {
    /// `seed` is the same for the same request, so that a retry sees the same ids.
    pub(crate) fn of_turn(turn: &Turn, request: &MessagesRequest, seed: u64) -> Self {
        let blocks: Vec<Block> = turn
            .reply
            .iter()
            .enumerate()
            .flat_map(|(number, step)| blocks(step, number, request, seed))
            .collect();
        let uses_tool = blocks
            .iter()
            .any(|block| matches!(block.kind, BlockKind::ToolUse { .. }));
        let default_reason = if uses_tool { "tool_use" } else { "end_turn" };
        let searches = blocks
            .iter()
            .filter(|block| matches!(block.kind, BlockKind::ServerToolUse { .. }))
            .count() as u64;
        let reply_bytes = blocks.iter().map(|block| block.kind.bytes()).sum();
        Self {
            id: format!("msg_{seed:016x}{:04}", request.position()),
            model: request.model.clone(),
            stop_reason: turn
                .stop_reason
                .clone()
                .unwrap_or_else(|| default_reason.to_owned()),
            usage: tokens::of_call(request, reply_bytes, searches, turn.usage),
            chunk_delay: Duration::from_millis(turn.chunk_delay_ms),
            blocks,
        }
    }

    /// A reply that says something about the script itself.
    pub(crate) fn of_text(text: String, request: &MessagesRequest, seed: u64) -> Self {
        let turn = Turn {
            reply: vec![Step {
                text: Some(text),
                ..Step::default()
            }],
            ..Turn::default()
        };
        Self::of_turn(&turn, request, seed)
    }

    /// The message as a request without `stream` gets it.
    pub(crate) fn to_message(&self) -> Value {
        let content: Vec<Value> = self.blocks.iter().map(|block| block.kind.to_json()).collect();
        self.message(&content, Some(&self.stop_reason), self.usage)
    }

    /// The message as a stream starts it.
    pub(crate) fn to_start(&self, usage: Usage) -> Value {
        self.message(&[], None, usage)
    }

    fn message(&self, content: &[Value], stop_reason: Option<&str>, usage: Usage) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": usage.to_json(),
        })
    }
}

impl BlockKind {
    fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) | Self::Thinking { text, .. } => text.len() as u64,
            Self::Repeat { unit, times } => unit.len() as u64 * times,
            Self::RedactedThinking { data } => data.len() as u64,
            Self::ToolUse { name, text, .. } => (name.len() + text.len()) as u64,
            Self::ServerToolUse { name, text, .. } => (name.len() + text.len()) as u64,
            Self::ServerToolResult(_) => 0,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Repeat { unit, times } => json!({"type": "text", "text": unit.repeat(*times as usize)}),
            Self::Thinking { text, signature } => {
                json!({"type": "thinking", "thinking": text, "signature": signature})
            }
            Self::RedactedThinking { data } => json!({"type": "redacted_thinking", "data": data}),
            Self::ToolUse { id, name, input, .. } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
            Self::ServerToolUse { id, name, input, .. } => {
                json!({"type": "server_tool_use", "id": id, "name": name, "input": input})
            }
            Self::ServerToolResult(block) => block.clone(),
        }
    }
}

fn blocks(step: &Step, number: usize, request: &MessagesRequest, seed: u64) -> Vec<Block> {
    match &step.web_search {
        Some(search) => {
            let id = format!("srvtoolu_{seed:016x}{:04}{number:02}", request.position());
            search_blocks(search, step, &id, request)
        }
        None => vec![block(step, number, request, seed)],
    }
}

/// The question as the API puts it to itself, and its answer.
fn search_blocks(search: &WebSearch, step: &Step, id: &str, request: &MessagesRequest) -> Vec<Block> {
    let input = json!({"query": template::fill(&search.query, request)});
    let found: Vec<Value> = search
        .results
        .iter()
        .map(|result| {
            json!({
                "type": "web_search_result",
                "title": result.title,
                "url": result.url,
                "encrypted_content": "c2ltdWxhdGVk",
                "page_age": result.page_age,
            })
        })
        .collect();
    let content = match &search.error {
        Some(code) => json!({"type": "web_search_tool_result_error", "error_code": code}),
        None => Value::Array(found),
    };
    let kinds = [
        BlockKind::ServerToolUse {
            id: id.to_owned(),
            name: "web_search",
            text: input.to_string(),
            input,
        },
        BlockKind::ServerToolResult(
            json!({"type": "web_search_tool_result", "tool_use_id": id, "content": content}),
        ),
    ];
    kinds
        .into_iter()
        .map(|kind| Block {
            kind,
            chunk: step.chunk.unwrap_or(INPUT_CHUNK),
            delay: Duration::from_millis(step.delay_ms),
        })
        .collect()
}

fn block(step: &Step, number: usize, request: &MessagesRequest, seed: u64) -> Block {
    let kind = if let Some(tool) = &step.tool_use {
        let made_up = || format!("toolu_{seed:016x}{:04}{number:02}", request.position());
        let input = template::fill_value(&tool.input, request);
        BlockKind::ToolUse {
            id: tool.id.clone().unwrap_or_else(made_up),
            name: tool.name.clone(),
            text: input.to_string(),
            input,
        }
    } else if let Some(thinking) = &step.thinking {
        let signature = step
            .signature
            .clone()
            .unwrap_or_else(|| format!("c2ltdWxhdGVk{seed:016x}"));
        BlockKind::Thinking {
            text: template::fill(thinking, request),
            signature,
        }
    } else if let Some(data) = &step.redacted_thinking {
        BlockKind::RedactedThinking { data: data.clone() }
    } else if let Some(repeat) = &step.repeat {
        BlockKind::Repeat {
            unit: repeat.text.clone(),
            times: repeat.times,
        }
    } else {
        BlockKind::Text(template::fill(step.text.as_deref().unwrap_or_default(), request))
    };
    let default_chunk = if step.tool_use.is_some() {
        INPUT_CHUNK
    } else {
        TEXT_CHUNK
    };
    Block {
        kind,
        chunk: step.chunk.unwrap_or(default_chunk),
        delay: Duration::from_millis(step.delay_ms),
    }
}
