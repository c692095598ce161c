//! Token counts that look like real ones: four bytes to a token, and a prompt cache that holds what the conversation
//! held before its last turn.

use crate::request::{MessagesRequest, Role};
use crate::script::UsageOverride;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// What one call used, with the cache as the API counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation_5m_input_tokens: u64,
    pub cache_creation_1h_input_tokens: u64,
    pub web_search_requests: u64,
}

impl Usage {
    pub(crate) fn add(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_input_tokens += other.cache_read_input_tokens;
        self.cache_creation_5m_input_tokens += other.cache_creation_5m_input_tokens;
        self.cache_creation_1h_input_tokens += other.cache_creation_1h_input_tokens;
        self.web_search_requests += other.web_search_requests;
    }

    /// As it stands in a message.
    pub(crate) fn to_json(self) -> Value {
        self.with_searches(json!({
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens":
                self.cache_creation_5m_input_tokens + self.cache_creation_1h_input_tokens,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_creation_5m_input_tokens,
                "ephemeral_1h_input_tokens": self.cache_creation_1h_input_tokens,
            },
            "output_tokens": self.output_tokens,
            "service_tier": "standard",
        }))
    }

    /// As it stands in a `message_delta`.
    pub(crate) fn to_delta_json(self) -> Value {
        self.with_searches(json!({
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens":
                self.cache_creation_5m_input_tokens + self.cache_creation_1h_input_tokens,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "output_tokens": self.output_tokens,
        }))
    }

    /// What the API's own tools did is counted where they were used.
    fn with_searches(self, mut usage: Value) -> Value {
        if self.web_search_requests > 0 {
            usage["server_tool_use"] = json!({"web_search_requests": self.web_search_requests});
        }
        usage
    }
}

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// Of the request alone, as `count_tokens` says it.
pub(crate) fn count(request: &MessagesRequest) -> u64 {
    of(prefix_bytes(request) + messages_bytes(request, 0))
}

/// Of the whole call, with what the script says in place of what was computed.
pub(crate) fn of_call(
    request: &MessagesRequest,
    reply_bytes: u64,
    searches: u64,
    script: UsageOverride,
) -> Usage {
    let total = count(request);
    let computed = if request.cache_breakpoints() == 0 {
        Usage {
            input_tokens: total,
            ..Usage::default()
        }
    } else {
        let before_last_turn = request
            .messages
            .iter()
            .rposition(|message| message.role == Role::Assistant);
        let read = before_last_turn.map_or(0, |last| total - of(messages_bytes(request, last)).min(total));
        let uncached = 3.min(total - read);
        Usage {
            input_tokens: uncached,
            cache_read_input_tokens: read,
            cache_creation_5m_input_tokens: total - read - uncached,
            ..Usage::default()
        }
    };
    Usage {
        input_tokens: script.input_tokens.unwrap_or(computed.input_tokens),
        output_tokens: script.output_tokens.unwrap_or_else(|| of(reply_bytes).max(1)),
        cache_read_input_tokens: script
            .cache_read_input_tokens
            .unwrap_or(computed.cache_read_input_tokens),
        cache_creation_5m_input_tokens: script
            .cache_creation_5m_input_tokens
            .unwrap_or(computed.cache_creation_5m_input_tokens),
        cache_creation_1h_input_tokens: script.cache_creation_1h_input_tokens.unwrap_or(0),
        web_search_requests: script.web_search_requests.unwrap_or(searches),
    }
}

fn of(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

fn prefix_bytes(request: &MessagesRequest) -> u64 {
    size(&request.system) + request.tools.iter().map(size).sum::<u64>()
}

fn messages_bytes(request: &MessagesRequest, from: usize) -> u64 {
    request.messages[from..]
        .iter()
        .map(|message| size(&message.content))
        .sum()
}

/// Bytes of the texts in a value, and a little for every number and name.
fn size(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(key, item)| key.len() as u64 + size(item)).sum(),
    }
}
