//! A session as it is shown, whoever tells of it: a server, which may be newer than this program, or the store.

use client::Raw;
use domain::SessionId;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wire::{Budget, Money, SessionUsage};

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) title: Option<String>,
    #[serde(default)]
    pub(crate) agent: Option<Agent>,
    #[serde(default)]
    pub(crate) environment_id: Option<String>,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) usage: SessionUsage,
    #[serde(default)]
    pub(crate) budget: Option<Budget>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub(crate) archived_at: Option<OffsetDateTime>,
    #[serde(default)]
    pub(crate) hostler: Option<Facts>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Agent {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: u64,
    #[serde(default)]
    pub(crate) model: Option<Model>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Model {
    pub(crate) id: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Facts {
    #[serde(default)]
    pub(crate) sandbox: Option<Sandbox>,
    #[serde(default)]
    pub(crate) cost: Option<Cost>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) state: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Cost {
    pub(crate) sandbox_seconds: f64,
    pub(crate) sandbox_time: Money,
}

impl Session {
    pub(crate) fn read(raw: &Raw) -> Result<Self, serde_json::Error> {
        serde_json::from_str(raw.get())
    }

    /// Of what the store knows without being asked for more.
    pub(crate) fn of_row(row: &store::Session) -> Self {
        let agent = row.hosting.as_ref().map(|hosting| Agent {
            id: hosting.agent_id.clone(),
            name: hosting.resource["agent"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            version: hosting.agent_version,
            model: Some(Model {
                id: row.model.clone(),
            }),
        });
        let environment = row.hosting.as_ref().map(|hosting| hosting.environment_id.clone());
        let metadata = row.hosting.as_ref().map(|hosting| &hosting.resource["metadata"]);
        Self {
            id: row.id.clone(),
            status: row.status.as_str().to_owned(),
            title: row.title.clone(),
            agent,
            environment_id: environment,
            metadata: metadata
                .and_then(|metadata| BTreeMap::deserialize(metadata).ok())
                .unwrap_or_default(),
            usage: SessionUsage::default(),
            budget: None,
            created_at: row.created_at,
            archived_at: row.archived_at,
            hostler: None,
        }
    }

    /// In a word.
    pub(crate) fn standing(&self) -> &str {
        if self.archived_at.is_some() {
            "archived"
        } else {
            &self.status
        }
    }
}

/// What programs are told of a session in a data directory.
pub(crate) fn row_as_json(row: &store::Session) -> serde_json::Value {
    let workspace = row.workspace.as_ref().map(|path| path.to_string_lossy());
    let mut object = json!({
        "id": row.id,
        "status": row.status,
        "title": row.title,
        "workspace": workspace,
        "model": row.model,
        "created_at": row.created_at.format(&Rfc3339).ok(),
    });
    if let Some(hosting) = &row.hosting {
        object["agent"] = json!({"id": hosting.agent_id, "version": hosting.agent_version});
        object["environment_id"] = json!(hosting.environment_id);
    }
    object
}
