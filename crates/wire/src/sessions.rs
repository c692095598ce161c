//! Sessions: what is asked for, and the resource as it is answered. Their events are in [`crate::event`].

mod schema;

pub use schema::{MAX_LIMIT, deleted_schema, schema};

use crate::agents::{
    Agent, ExecutionIdentity, Model, ModelInput, Settings as AgentSettings, Tool, ToolInput,
};
use crate::event_input::EventInput;
use crate::metadata::{Metadata, MetadataPatch};
use crate::page::Order;
use crate::schema::Schema;
use crate::usage::{Budget, Money, SessionUsage};
use crate::{Input, Invalid, Patch};
use domain::{AgentId, SandboxState, SessionId, SessionStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

pub const TITLE_CHARACTERS: usize = 512;
/// Of a session that is being made.
pub const INITIAL_EVENTS: usize = 50;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "session")]
pub struct Session {
    pub id: SessionId,
    pub status: SessionStatus,
    pub agent: SessionAgent,
    pub environment_id: String,
    pub title: Option<String>,
    pub metadata: Metadata,
    /// Empty: not supported yet, and neither are the next two.
    pub resources: [Value; 0],
    pub vault_ids: [String; 0],
    pub outcome_evaluations: [Value; 0],
    pub stats: Stats,
    pub usage: SessionUsage,
    pub budget: Option<Budget>,
    pub deployment_id: Option<()>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub archived_at: Option<OffsetDateTime>,
    pub hostler: Facts,
}

/// An agent as it was when the session was made, with what the session changed of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "agent")]
pub struct SessionAgent {
    pub id: AgentId,
    pub version: u64,
    pub name: String,
    pub description: Option<String>,
    pub system: Option<String>,
    pub model: Model,
    pub tools: Vec<Tool>,
    /// Empty: not supported yet, and neither are the next two.
    pub mcp_servers: [Value; 0],
    pub skills: [Value; 0],
    pub multiagent: Option<()>,
    pub execution_identity: ExecutionIdentity,
    pub hostler: AgentSettings,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Time in which the session was running.
    pub active_seconds: f64,
    /// Time since it was made, or until it ended.
    pub duration_seconds: f64,
}

/// What the Managed Agents API has no field for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Nothing before the first message.
    pub sandbox: Option<SandboxFacts>,
    pub runtime: RuntimeFacts,
    pub cost: CostFacts,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxFacts {
    pub id: String,
    pub state: SandboxState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFacts {
    pub name: String,
    pub version: String,
}

/// By list price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostFacts {
    /// Nothing where a model without a list price was used.
    pub tokens: Option<Money>,
    pub sandbox_seconds: f64,
    pub sandbox_time: Money,
}

/// The answer to a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "session_deleted")]
pub struct Deleted {
    pub id: SessionId,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Create {
    pub agent: AgentInput,
    pub environment_id: String,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub metadata: Option<Metadata>,
    #[serde(default)]
    pub initial_events: Option<Vec<EventInput>>,
    #[serde(default)]
    pub budget: Option<BudgetInput>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum AgentInput {
    /// In its present version.
    Id(String),
    Reference(AgentReference),
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct AgentReference {
    pub id: String,
    /// The present one unless it is named.
    #[serde(default)]
    pub version: Option<u64>,
    /// In place of the agent's own.
    #[serde(default)]
    pub model: Option<ModelInput>,
    #[serde(default)]
    pub system: Patch<String>,
    #[serde(default)]
    pub tools: Patch<Vec<ToolInput>>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct BudgetInput {
    pub max_list_cost: Money,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Update {
    #[serde(default)]
    pub title: Patch<String>,
    #[serde(default)]
    pub metadata: Option<MetadataPatch>,
    #[serde(default)]
    pub budget: Patch<BudgetInput>,
    #[serde(default)]
    pub agent: Option<AgentUpdate>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct AgentUpdate {
    #[serde(default)]
    pub tools: Patch<Vec<ToolInput>>,
}

/// Which sessions.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct List {
    #[serde(default)]
    pub limit: Option<usize>,
    #[serde(default)]
    pub page: Option<String>,
    #[serde(default)]
    pub order: Option<Order>,
    #[serde(default)]
    pub agent_id: Option<String>,
    #[serde(default)]
    pub agent_version: Option<u64>,
    #[serde(default)]
    pub deployment_id: Option<String>,
    #[serde(default)]
    pub memory_store_id: Option<String>,
    #[serde(default, rename = "statuses[]")]
    pub statuses: Vec<SessionStatus>,
    #[serde(default)]
    pub include_archived: bool,
    #[serde(default, rename = "created_at[gt]", with = "time::serde::rfc3339::option")]
    pub created_after: Option<OffsetDateTime>,
    #[serde(default, rename = "created_at[gte]", with = "time::serde::rfc3339::option")]
    pub created_from: Option<OffsetDateTime>,
    #[serde(default, rename = "created_at[lt]", with = "time::serde::rfc3339::option")]
    pub created_before: Option<OffsetDateTime>,
    #[serde(default, rename = "created_at[lte]", with = "time::serde::rfc3339::option")]
    pub created_to: Option<OffsetDateTime>,
}

impl Input for Create {
    fn schema() -> Schema {
        schema::create()
    }

    fn check(&self) -> Result<(), Invalid> {
        if let Some(budget) = &self.budget {
            budget.check().map_err(|invalid| invalid.under("budget"))?;
        }
        if let AgentInput::Reference(AgentReference {
            tools: Patch::Set(tools),
            ..
        }) = &self.agent
        {
            crate::agents::check_tools(tools).map_err(|invalid| invalid.under("agent"))?;
        }
        let events = self.initial_events.as_deref().unwrap_or_default();
        let mut events = events.iter().enumerate();
        events.try_for_each(|(index, event)| {
            let wrong = |invalid: Invalid| invalid.at(index).under("initial_events");
            match event {
                EventInput::UserMessage { .. } => event.check().map_err(wrong),
                _ => Err(wrong(Invalid::new(
                    "type",
                    "must be user.message: a session begins with messages",
                ))),
            }
        })
    }
}

impl Input for Update {
    fn schema() -> Schema {
        schema::update()
    }

    fn check(&self) -> Result<(), Invalid> {
        if let Patch::Set(budget) = &self.budget {
            budget.check().map_err(|invalid| invalid.under("budget"))?;
        }
        match self.agent.as_ref().map(|agent| &agent.tools) {
            Some(Patch::Set(tools)) => {
                crate::agents::check_tools(tools).map_err(|invalid| invalid.under("agent"))
            }
            _ => Ok(()),
        }
    }
}

impl Input for List {
    fn schema() -> Schema {
        schema::list_sessions()
    }

    fn check(&self) -> Result<(), Invalid> {
        if self.agent_version.is_some() && self.agent_id.is_none() {
            return Err(Invalid::new("agent_version", "needs agent_id beside it"));
        }
        Ok(())
    }
}

impl BudgetInput {
    fn check(&self) -> Result<(), Invalid> {
        let Money { amount, currency } = &self.max_list_cost;
        let wrong = |field: &str, problem: &str| Invalid::new(field, problem).under("max_list_cost");
        if currency != "USD" {
            return Err(wrong("currency", "must be USD"));
        }
        match amount.parse::<u64>() {
            Ok(cents) if cents > 0 && amount.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
            _ => Err(wrong(
                "amount",
                "must be a whole number of cents above 0, like \"2500\"",
            )),
        }
    }
}

impl From<BudgetInput> for Budget {
    fn from(input: BudgetInput) -> Self {
        Self {
            max_list_cost: input.max_list_cost,
        }
    }
}

impl From<Agent> for SessionAgent {
    fn from(agent: Agent) -> Self {
        let definition = agent.definition;
        Self {
            id: agent.id,
            version: agent.version,
            name: definition.name,
            description: definition.description,
            system: definition.system,
            model: definition.model,
            tools: definition.tools,
            mcp_servers: [],
            skills: [],
            multiagent: None,
            execution_identity: definition.execution_identity,
            hostler: definition.hostler,
        }
    }
}

impl SessionAgent {
    /// With what a session wants otherwise.
    #[must_use]
    pub fn overridden(mut self, reference: AgentReference) -> Self {
        if let Some(model) = reference.model {
            self.model = model.resolve(Some(&self.model));
        }
        reference.system.apply(&mut self.system);
        self.system = self.system.filter(|system| !system.is_empty());
        self.set_tools(reference.tools);
        self
    }

    pub fn set_tools(&mut self, tools: Patch<Vec<ToolInput>>) {
        match tools {
            Patch::Keep => {}
            Patch::Clear => self.tools.clear(),
            Patch::Set(tools) => self.tools = tools.into_iter().map(ToolInput::resolve).collect(),
        }
    }
}
