//! The parts of a script as they stand in its file. Unknown keys are errors: a typing mistake must not go unnoticed.

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Ids that exist; a request for another is answered 404. Any id is taken if there are none.
    #[serde(default)]
    pub models: Vec<String>,
    #[serde(default)]
    pub order: Order,
    /// Tried before the position's own turn; each has a `when`.
    #[serde(default)]
    pub anytime: Vec<Turn>,
    pub turns: Vec<Position>,
}

/// What says which turn is next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The number of assistant turns in the request, so that retries and resumes work.
    #[default]
    Conversation,
    /// The number of requests that this server has answered, whoever sent them.
    Global,
}

/// One place in the script: a turn, or alternatives of which the first that matches is played.
#[derive(Debug, Clone)]
pub struct Position(pub Vec<Turn>);

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Position;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a turn or a list of alternative turns")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Position, A::Error> {
                Turn::deserialize(MapAccessDeserializer::new(map)).map(|turn| Position(vec![turn]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Position, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Position)
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    pub when: When,
    pub reply: Vec<Step>,
    /// `tool_use` if a tool is used, else `end_turn`.
    pub stop_reason: Option<String>,
    pub usage: UsageOverride,
    /// Before the head of the answer.
    pub first_byte_delay_ms: u64,
    /// Before every delta.
    pub chunk_delay_ms: u64,
    pub fault: Option<Fault>,
}

/// What a request must be; everything that is given must hold. Texts are looked for as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    pub last_user_text_contains: Option<String>,
    pub first_user_text_contains: Option<String>,
    pub system_contains: Option<String>,
    pub last_tool_result_contains: Option<String>,
    pub last_tool_result_is_error: Option<bool>,
    pub has_tool: Option<String>,
    /// A type of block, like `image`, in the last user message that has any text.
    pub last_user_has: Option<String>,
    pub model: Option<String>,
    pub stream: Option<bool>,
}

/// One content block, or the two of a search; exactly one of `text`, `repeat`, `thinking`, `redacted_thinking`,
/// `tool_use` and `web_search`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    pub text: Option<String>,
    pub repeat: Option<Repeat>,
    pub thinking: Option<String>,
    /// Of `thinking`; made up unless given.
    pub signature: Option<String>,
    pub redacted_thinking: Option<String>,
    pub tool_use: Option<ToolUse>,
    pub web_search: Option<WebSearch>,
    /// Characters in one delta.
    pub chunk: Option<usize>,
    /// Before the block.
    pub delay_ms: u64,
}

/// A text that is as long as it must be without being written out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    pub text: String,
    pub times: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolUse {
    pub name: String,
    #[serde(default = "empty_object")]
    pub input: Value,
    /// Made of the request unless given.
    #[serde(default)]
    pub id: Option<String>,
}

/// A search that the API does by itself, and what it found.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSearch {
    #[serde(default = "last_user_text")]
    pub query: String,
    #[serde(default)]
    pub results: Vec<SearchResult>,
    /// In place of results: `max_uses_exceeded`, `unavailable`, ….
    #[serde(default)]
    pub error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchResult {
    pub title: String,
    pub url: String,
    #[serde(default)]
    pub page_age: Option<String>,
}

fn last_user_text() -> String {
    "{{last_user_text}}".to_owned()
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Numbers in place of those computed from the sizes of request and reply.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageOverride {
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub cache_creation_5m_input_tokens: Option<u64>,
    pub cache_creation_1h_input_tokens: Option<u64>,
    pub web_search_requests: Option<u64>,
}

/// What goes wrong. With `times`, that many requests fail and the next one gets the reply; without, all fail.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An error of the API in place of an answer.
    Error {
        status: u16,
        error_type: String,
        message: String,
        #[serde(default)]
        retry_after_seconds: Option<u64>,
        #[serde(default)]
        times: Option<u64>,
    },
    /// The connection is closed without an answer.
    Close {
        #[serde(default)]
        times: Option<u64>,
    },
    /// The connection is closed in the middle of the answer.
    Drop {
        after_events: u64,
        #[serde(default)]
        times: Option<u64>,
    },
    /// Nothing more is sent, and the connection stays.
    Stall {
        after_events: u64,
        #[serde(default)]
        times: Option<u64>,
    },
    /// An `error` event ends the stream.
    StreamError {
        after_events: u64,
        error_type: String,
        message: String,
        #[serde(default)]
        times: Option<u64>,
    },
    /// This text as it is; then the stream ends.
    Raw {
        after_events: u64,
        text: String,
        #[serde(default)]
        times: Option<u64>,
    },
    /// The stream goes on until the client leaves.
    Endless {
        after_events: u64,
        what: Endless,
        #[serde(default)]
        interval_ms: u64,
        #[serde(default)]
        times: Option<u64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endless {
    /// Deltas of the open text block.
    Text,
    Pings,
    /// One line that never ends.
    Line,
}

impl Fault {
    pub fn times(&self) -> Option<u64> {
        match self {
            Self::Error { times, .. }
            | Self::Close { times }
            | Self::Drop { times, .. }
            | Self::Stall { times, .. }
            | Self::StreamError { times, .. }
            | Self::Raw { times, .. }
            | Self::Endless { times, .. } => *times,
        }
    }
}
