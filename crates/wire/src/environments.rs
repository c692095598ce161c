//! Environments: where an agent works. What is asked for, the resource as it is answered, and what a sandbox is made
//! of by it.

mod network;
mod sandbox;
mod schema;

pub use network::{Networking, NetworkingInput};
pub use sandbox::{Mode, RuntimeName, Settings, SettingsInput, SettingsPatch, Size};
pub use schema::{MAX_LIMIT, deleted_schema, schema};

use crate::metadata::{self, Metadata, MetadataPatch};
use crate::schema::Schema;
use crate::{Input, Invalid, Patch};
use domain::{EnvironmentId, Limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::OffsetDateTime;

pub const NAME_CHARACTERS: usize = 256;
pub const DESCRIPTION_CHARACTERS: usize = 2048;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "environment")]
pub struct Environment {
    pub id: EnvironmentId,
    #[serde(flatten)]
    pub definition: Definition,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub archived_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub name: String,
    pub description: Option<String>,
    pub metadata: Metadata,
    pub scope: Scope,
    pub config: Config,
    pub hostler: Settings,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    Organization,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "cloud")]
pub struct Config {
    pub networking: Networking,
    pub packages: Packages,
}

/// By package manager. All are empty: nothing is installed yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "packages")]
pub struct Packages {
    pub apt: [String; 0],
    pub cargo: [String; 0],
    pub gem: [String; 0],
    pub go: [String; 0],
    pub npm: [String; 0],
    pub pip: [String; 0],
}

#[derive(Debug, Clone, Deserialize)]
pub struct Create {
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub metadata: Option<Metadata>,
    #[serde(default)]
    pub config: Option<ConfigInput>,
    #[serde(default)]
    pub hostler: Option<SettingsInput>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Update {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Patch<String>,
    #[serde(default)]
    pub metadata: Option<MetadataPatch>,
    #[serde(default)]
    pub config: Option<ConfigInput>,
    #[serde(default)]
    pub hostler: Patch<SettingsPatch>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ConfigInput {
    #[serde(default)]
    networking: Option<NetworkingInput>,
}

/// The answer to a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "environment_deleted")]
pub struct Deleted {
    pub id: EnvironmentId,
}

/// Which environments.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct List {
    #[serde(default)]
    pub limit: Option<usize>,
    #[serde(default)]
    pub page: Option<String>,
    #[serde(default)]
    pub include_archived: bool,
}

impl Input for List {
    fn schema() -> Schema {
        schema::list_environments()
    }
}

impl Input for Create {
    fn schema() -> Schema {
        schema::create()
    }

    fn check(&self) -> Result<(), Invalid> {
        check(self.config.as_ref())?;
        let settings = self.hostler.clone().unwrap_or_default();
        settings.check().map_err(|invalid| invalid.under("hostler"))
    }
}

impl Input for Update {
    fn schema() -> Schema {
        schema::update()
    }

    fn check(&self) -> Result<(), Invalid> {
        check(self.config.as_ref())?;
        match &self.hostler {
            Patch::Set(patch) => patch.check().map_err(|invalid| invalid.under("hostler")),
            Patch::Keep | Patch::Clear => Ok(()),
        }
    }
}

fn check(config: Option<&ConfigInput>) -> Result<(), Invalid> {
    match config.and_then(|config| config.networking.as_ref()) {
        Some(networking) => networking
            .check()
            .map_err(|invalid| invalid.under("networking").under("config")),
        None => Ok(()),
    }
}

impl Create {
    /// What is not said is as it usually is.
    pub fn define(self, usual: &Limits) -> Definition {
        let networking = self.config.and_then(|config| config.networking);
        let nothing = Networking::default();
        Definition {
            name: self.name,
            description: self.description,
            metadata: self.metadata.unwrap_or_default(),
            scope: Scope::Organization,
            config: Config {
                networking: networking.map_or_else(Networking::default, |input| input.resolve(&nothing)),
                packages: Packages::default(),
            },
            hostler: self.hostler.unwrap_or_default().settings(usual),
        }
    }
}

impl Update {
    /// The definition after the update. What is taken back is as it usually is.
    pub fn apply(self, mut definition: Definition, usual: &Limits) -> Result<Definition, Invalid> {
        definition.name = self.name.unwrap_or(definition.name);
        self.description.apply(&mut definition.description);
        metadata::apply(self.metadata.unwrap_or_default(), &mut definition.metadata)?;
        if let Some(networking) = self.config.and_then(|config| config.networking) {
            definition.config.networking = networking.resolve(&definition.config.networking);
        }
        match self.hostler {
            Patch::Keep => {}
            Patch::Clear => definition.hostler = usual.into(),
            Patch::Set(patch) => patch.apply(&mut definition.hostler, usual),
        }
        let runtime = definition.hostler.check_runtime();
        runtime.map_err(|invalid| invalid.under("hostler"))?;
        Ok(definition)
    }
}

impl Definition {
    /// What a sandbox of this environment may use.
    pub fn limits(&self) -> Limits {
        self.hostler.limits()
    }

    /// What it may reach; the definition was checked, so the rules are sound.
    pub fn rules(&self) -> Result<policy::Rules, policy::RulesError> {
        self.config.networking.rules()
    }

    /// Variables for the agent's processes, besides those that every sandbox has.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.hostler.env
    }
}

#[cfg(test)]
mod tests;
