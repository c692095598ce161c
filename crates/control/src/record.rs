//! What control alone keeps of a session, as JSON in its row.

use crate::{CreateError, NewSession, Runtime, Toolset};
use domain::Cost;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything of [`NewSession`] that has no column of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionSettings {
    pub max_turns: Option<u32>,
    pub max_cost: Option<Cost>,
    pub system_prompt: Option<String>,
    pub runtime: Runtime,
    /// Paths below the workspace that the agent must not see.
    pub masked: Vec<PathBuf>,
    /// Nothing where the agent may use all that its runtime has.
    pub tools: Option<Toolset>,
    /// Variables that the agent's programs get besides.
    pub environment: BTreeMap<String, String>,
    pub effort: Option<String>,
}

pub(crate) fn row(id: &domain::SessionId, new: NewSession) -> Result<store::NewSession, CreateError> {
    new.limits.validate()?;
    if new.model.trim().is_empty() {
        return Err(CreateError::NoModel);
    }
    let unwritable = |error: serde_json::Error| CreateError::Settings {
        reason: error.to_string(),
    };
    let (workspace, masked) = match new.workspace {
        Some(workspace) => (Some(workspace.path), workspace.masked),
        None => (None, Vec::new()),
    };
    let settings = SessionSettings {
        max_turns: new.max_turns,
        max_cost: new.max_cost,
        system_prompt: new.system_prompt,
        runtime: new.runtime,
        masked,
        tools: new.tools,
        environment: new.environment,
        effort: new.effort,
    };
    Ok(store::NewSession {
        id: id.clone(),
        title: new.title,
        workspace,
        model: new.model,
        limits: new.limits,
        egress_rules: serde_json::to_value(&new.rules).map_err(unwritable)?,
        settings: serde_json::to_value(&settings).map_err(unwritable)?,
        hosting: new.hosting,
    })
}

/// A row, read back: without what was read of it, and what the API alone reads.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub row: store::Session,
    pub settings: SessionSettings,
    pub rules: policy::Rules,
}

/// What a session's sandbox may reach.
pub fn rules(row: &store::Session) -> Result<policy::Rules, store::Error> {
    serde_json::from_value(row.egress_rules.clone()).map_err(|error| store::Error::Corrupt {
        what: format!("session {}", row.id),
        reason: error.to_string(),
    })
}

/// Which program plays a session's agent.
pub fn runtime(row: &store::Session) -> Result<Runtime, store::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Played {
        runtime: Runtime,
    }
    let played = Played::deserialize(&row.settings).map_err(|error| store::Error::Corrupt {
        what: format!("session {}", row.id),
        reason: error.to_string(),
    })?;
    Ok(played.runtime)
}

impl Record {
    pub(crate) fn read(mut row: store::Session) -> Result<Self, store::Error> {
        let corrupt = |error: serde_json::Error| store::Error::Corrupt {
            what: format!("session {}", row.id),
            reason: error.to_string(),
        };
        let settings = serde_json::from_value(row.settings.take()).map_err(corrupt)?;
        let rules = rules(&row)?;
        row.egress_rules.take();
        if let Some(hosting) = &mut row.hosting {
            hosting.resource.take();
        }
        Ok(Self { row, settings, rules })
    }

    /// What of the host the sandbox needs for its runtime.
    pub(crate) fn runtime(&self) -> Option<sandbox::Runtime> {
        match &self.settings.runtime {
            Runtime::Native => None,
            Runtime::Claude { version } => Some(sandbox::Runtime {
                name: "claude".to_owned(),
                version: version.clone(),
            }),
        }
    }

    pub(crate) fn workspace(&self) -> Option<sandbox::Workspace> {
        let path = self.row.workspace.clone()?;
        Some(sandbox::Workspace {
            path,
            masked: self.settings.masked.clone(),
        })
    }
}
