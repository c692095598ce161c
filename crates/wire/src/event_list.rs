//! Which events of a session are asked for.

use crate::Input;
use crate::page::{self, Order};
use crate::schema::{Field, Schema, choice, list, object, optional, text, timestamp};
use serde::Deserialize;
use time::OffsetDateTime;

/// Of a page, and what it is where a request does not say.
pub const MAX_LIMIT: usize = 1000;
const MAX_TYPES: usize = 100;
const TYPE: usize = 64;
const EVENT: usize = 64;

/// Times are those of `processed_at`, as the API has it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct List {
    #[serde(default)]
    pub limit: Option<usize>,
    #[serde(default)]
    pub page: Option<String>,
    #[serde(default)]
    pub order: Option<Order>,
    #[serde(default, rename = "types[]")]
    pub types: Vec<String>,
    #[serde(default, rename = "created_at[gt]", with = "time::serde::rfc3339::option")]
    pub after: Option<OffsetDateTime>,
    #[serde(default, rename = "created_at[gte]", with = "time::serde::rfc3339::option")]
    pub from: Option<OffsetDateTime>,
    #[serde(default, rename = "created_at[lt]", with = "time::serde::rfc3339::option")]
    pub before: Option<OffsetDateTime>,
    #[serde(default, rename = "created_at[lte]", with = "time::serde::rfc3339::option")]
    pub to: Option<OffsetDateTime>,
}

/// What a stream gives besides events.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Stream {
    /// Types of events whose parts are previewed.
    #[serde(default, rename = "event_deltas[]")]
    pub event_deltas: Vec<String>,
}

/// What a `WebSocket` gives, and from where on.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Socket {
    /// Types of events whose parts are previewed.
    #[serde(default, rename = "event_deltas[]")]
    pub event_deltas: Vec<String>,
    /// The last event that the client has.
    #[serde(default)]
    pub after: Option<String>,
}

impl Input for List {
    fn schema() -> Schema {
        let filters = [
            optional("order", choice(["asc", "desc"])),
            optional("types[]", list(text(1..=TYPE), MAX_TYPES)),
            optional("created_at[gt]", timestamp()),
            optional("created_at[gte]", timestamp()),
            optional("created_at[lt]", timestamp()),
            optional("created_at[lte]", timestamp()),
        ];
        object(page::parameters(MAX_LIMIT).into_iter().chain(filters))
    }
}

impl Input for Stream {
    fn schema() -> Schema {
        object([previews()])
    }
}

impl Input for Socket {
    fn schema() -> Schema {
        object([previews(), optional("after", text(1..=EVENT))])
    }
}

fn previews() -> Field {
    let previewed = choice(["agent.message", "agent.thinking"]);
    optional("event_deltas[]", list(previewed, MAX_TYPES))
}
