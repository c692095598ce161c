//! Workspaces of this server: `/host/v1/workspaces`.

use crate::Input;
use crate::schema::{Schema, constant, object, required, text_of, timestamp};
use domain::WorkspaceId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

const CHARACTERS: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "workspace")]
pub struct Workspace {
    pub id: WorkspaceId,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Create {
    pub id: WorkspaceId,
}

impl Input for Create {
    fn schema() -> Schema {
        object([required("id", id())]).named("WorkspaceCreate")
    }
}

pub fn schema() -> Schema {
    object([
        constant("type", "workspace"),
        required("id", id()),
        required("created_at", timestamp()),
    ])
    .named("Workspace")
}

/// A workspace's name, as `domain` reads it.
pub fn id() -> Schema {
    text_of(1..=CHARACTERS, "[a-z0-9_-]", |character| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '_' | '-')
    })
}
