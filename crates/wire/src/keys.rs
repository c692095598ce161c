//! Keys of this server's API: who may come, and into which workspace. Not of the Managed Agents API: `/host/v1/keys`.

use crate::schema::{Field, Schema, constant, list, object, optional, required, text, timestamp};
use crate::{Input, workspaces};
use domain::{KeyId, WorkspaceId};
use serde::{Deserialize, Serialize};
use std::fmt;
use time::OffsetDateTime;

pub const NAME_CHARACTERS: usize = 256;
const MAX_LISTED: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "api_key")]
pub struct Key {
    pub id: KeyId,
    pub name: Option<String>,
    pub workspace_id: WorkspaceId,
    /// How the key begins, to tell it from others.
    pub prefix: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// A key with its secret, which is not shown again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    #[serde(flatten)]
    pub key: Key,
    pub secret: String,
}

impl fmt::Debug for Created {
    /// Never with the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(formatter)
    }
}

/// Everything of a kind, where there is not enough for pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct All<T> {
    pub data: Vec<T>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Create {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Made where it is not there; `default` unless it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
}

impl Input for Create {
    fn schema() -> Schema {
        object([
            optional("name", text(1..=NAME_CHARACTERS).nullable()),
            optional("workspace_id", workspaces::id().nullable()),
        ])
        .named("KeyCreate")
    }
}

pub fn schema() -> Schema {
    object(fields()).named("Key")
}

pub fn created_schema() -> Schema {
    let secret = required("secret", text(1..=256).about("The key itself, shown this once."));
    object(fields().into_iter().chain([secret])).named("KeyCreated")
}

pub fn all_schema(item: Schema) -> Schema {
    object([required("data", list(item, MAX_LISTED))])
}

fn fields() -> [Field; 8] {
    [
        constant("type", "api_key"),
        required("id", text(1..=64)),
        required("name", text(1..=NAME_CHARACTERS).nullable()),
        required("workspace_id", workspaces::id()),
        required("prefix", text(1..=64)),
        required("created_at", timestamp()),
        required("last_used_at", timestamp().nullable()),
        required("revoked_at", timestamp().nullable()),
    ]
}
