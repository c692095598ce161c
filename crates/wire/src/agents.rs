//! Agents: who works, apart from where. What is asked for, and the resource as it is answered.
//!
//! An agent has versions; each is a whole [`Definition`], resolved, so that nothing depends on what a default is later.

mod model;
mod schema;
mod tools;

pub use model::{Effort, Model, ModelInput, Speed};
pub use schema::{MAX_LIMIT, schema};
pub(crate) use schema::{
    model as model_schema, resolved_model as resolved_model_schema, resolved_tools as resolved_tools_schema,
    system as system_schema, tools as tools_schema,
};
pub(crate) use tools::check as check_tools;
pub use tools::{
    AgentToolset, BuiltInTool, CustomTool, DefaultConfig, MAX_TOOLS, PermissionPolicy, Tool, ToolConfig,
    ToolInput,
};

use crate::metadata::{self, Metadata, MetadataPatch};
use crate::schema::Schema;
use crate::{Input, Invalid, Patch};
use domain::AgentId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

pub const NAME_CHARACTERS: usize = 256;
pub const DESCRIPTION_CHARACTERS: usize = 2048;
pub const SYSTEM_CHARACTERS: usize = 100_000;
pub const MAX_TURNS: u32 = 10_000;

/// An agent in one of its versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "agent")]
pub struct Agent {
    pub id: AgentId,
    /// From 1.
    pub version: u64,
    #[serde(flatten)]
    pub definition: Definition,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub archived_at: Option<OffsetDateTime>,
}

/// What a version says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub name: String,
    pub description: Option<String>,
    pub system: Option<String>,
    pub model: Model,
    pub tools: Vec<Tool>,
    pub metadata: Metadata,
    /// Empty: not supported yet, and neither are the next two.
    pub mcp_servers: [Value; 0],
    pub skills: [Value; 0],
    pub multiagent: Option<()>,
    pub execution_identity: ExecutionIdentity,
    pub hostler: Settings,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecutionIdentity {
    #[default]
    ServiceAccount,
}

/// What the Managed Agents API has no field for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Model requests in one turn, before the agent is stopped.
    #[serde(default)]
    pub max_turns: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Create {
    pub name: String,
    pub model: ModelInput,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub system: Option<String>,
    #[serde(default)]
    pub tools: Option<Vec<ToolInput>>,
    #[serde(default)]
    pub metadata: Option<Metadata>,
    #[serde(default)]
    pub hostler: Option<Settings>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Update {
    /// The present version, for a client that must not overwrite a newer one.
    #[serde(default)]
    pub version: Option<u64>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub model: Option<ModelInput>,
    #[serde(default)]
    pub description: Patch<String>,
    #[serde(default)]
    pub system: Patch<String>,
    #[serde(default)]
    pub tools: Patch<Vec<ToolInput>>,
    #[serde(default)]
    pub metadata: Option<MetadataPatch>,
    #[serde(default)]
    pub hostler: Patch<Settings>,
}

/// Which agents.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct List {
    #[serde(default)]
    pub limit: Option<usize>,
    #[serde(default)]
    pub page: Option<String>,
    #[serde(default)]
    pub include_archived: bool,
    #[serde(default, rename = "created_at[gte]", with = "time::serde::rfc3339::option")]
    pub created_from: Option<OffsetDateTime>,
    #[serde(default, rename = "created_at[lte]", with = "time::serde::rfc3339::option")]
    pub created_to: Option<OffsetDateTime>,
}

/// Which versions of an agent.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ListVersions {
    #[serde(default)]
    pub limit: Option<usize>,
    #[serde(default)]
    pub page: Option<String>,
}

/// Which version of an agent; the present one unless it is named.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Get {
    #[serde(default)]
    pub version: Option<u64>,
}

impl Input for List {
    fn schema() -> Schema {
        schema::list_agents()
    }
}

impl Input for ListVersions {
    fn schema() -> Schema {
        schema::list_versions()
    }
}

impl Input for Get {
    fn schema() -> Schema {
        schema::get()
    }
}

impl Input for Create {
    fn schema() -> Schema {
        schema::create()
    }

    fn check(&self) -> Result<(), Invalid> {
        tools::check(self.tools.as_deref().unwrap_or_default())
    }
}

impl Input for Update {
    fn schema() -> Schema {
        schema::update()
    }

    fn check(&self) -> Result<(), Invalid> {
        match &self.tools {
            Patch::Set(tools) => tools::check(tools),
            Patch::Keep | Patch::Clear => Ok(()),
        }
    }
}

impl From<Create> for Definition {
    fn from(create: Create) -> Self {
        let tools = create.tools.unwrap_or_default();
        Self {
            name: create.name,
            description: create.description.and_then(not_empty),
            system: create.system.and_then(not_empty),
            model: create.model.resolve(None),
            tools: tools.into_iter().map(ToolInput::resolve).collect(),
            metadata: create.metadata.unwrap_or_default(),
            mcp_servers: [],
            skills: [],
            multiagent: None,
            execution_identity: ExecutionIdentity::ServiceAccount,
            hostler: create.hostler.unwrap_or_default(),
        }
    }
}

impl Update {
    /// The definition after the update.
    pub fn apply(self, mut definition: Definition) -> Result<Definition, Invalid> {
        definition.name = self.name.unwrap_or(definition.name);
        if let Some(model) = self.model {
            definition.model = model.resolve(Some(&definition.model));
        }
        self.description.apply(&mut definition.description);
        definition.description = definition.description.and_then(not_empty);
        self.system.apply(&mut definition.system);
        definition.system = definition.system.and_then(not_empty);
        match self.tools {
            Patch::Keep => {}
            Patch::Clear => definition.tools.clear(),
            Patch::Set(tools) => definition.tools = tools.into_iter().map(ToolInput::resolve).collect(),
        }
        metadata::apply(self.metadata.unwrap_or_default(), &mut definition.metadata)?;
        self.hostler
            .apply_or(&mut definition.hostler, Settings::default());
        Ok(definition)
    }
}

/// The empty text clears a field.
fn not_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
