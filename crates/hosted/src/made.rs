//! What a session was made from: kept with it, and turned into what its owner needs.

use crate::HostedError;
use control::{CreateError, CustomTool, NewSession, Permission, Refused, Runtime, Toolset};
use domain::{Cost, PriceTable, WorkspaceId};
use serde::{Deserialize, Serialize};
use store::Hosting;
use wire::agents::{BuiltInTool, PermissionPolicy, Tool};
use wire::environments::Environment;
use wire::metadata::Metadata;
use wire::sessions::SessionAgent;
use wire::{Budget, Invalid};

/// What the API alone keeps of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Made {
    pub agent: SessionAgent,
    pub metadata: Metadata,
    pub budget: Option<Budget>,
    /// It was made with a budget, and may be given another.
    pub budgeted: bool,
}

impl Made {
    pub(crate) fn of(row: &store::Session) -> Result<Self, store::Error> {
        let resource = row.hosting.as_ref().map(|hosting| &hosting.resource);
        let resource = resource.cloned().unwrap_or_default();
        serde_json::from_value(resource).map_err(|error| store::Error::Corrupt {
            what: format!("what session {} was made from", row.id),
            reason: error.to_string(),
        })
    }

    pub(crate) fn session(
        mut self,
        workspace: &WorkspaceId,
        environment: &Environment,
        runtime: Runtime,
        title: Option<String>,
    ) -> Result<NewSession, HostedError> {
        let definition = &environment.definition;
        let rules = definition
            .rules()
            .map_err(|error| Invalid::new("environment_id", error.to_string()))?;
        self.budgeted = self.budget.is_some();
        if self.budgeted {
            budgetable(&self.agent)?;
        }
        let resource = serde_json::to_value(&self).map_err(|error| CreateError::Settings {
            reason: error.to_string(),
        })?;
        Ok(NewSession {
            workspace: None,
            model: self.agent.model.id.clone(),
            limits: definition.limits(),
            rules,
            max_turns: self.agent.hostler.max_turns,
            max_cost: self.budget.as_ref().map(cost),
            system_prompt: self.agent.system.clone(),
            title,
            runtime,
            tools: Some(toolset(&self.agent)),
            environment: definition.variables().clone(),
            effort: Some(self.agent.model.effort.as_str().to_owned()),
            hosting: Some(Hosting {
                workspace_id: workspace.to_string(),
                agent_id: self.agent.id.to_string(),
                agent_version: self.agent.version,
                environment_id: environment.id.to_string(),
                resource,
            }),
        })
    }
}

/// A budget can be kept only where it is known what a model costs.
pub(crate) fn budgetable(agent: &SessionAgent) -> Result<(), Refused> {
    let model = &agent.model.id;
    match PriceTable::built_in().model(model) {
        Some(_) => Ok(()),
        None => Err(Refused {
            code: Some("model_not_budgetable"),
            message: format!("the model {model} has no public list price, so a budget cannot be kept"),
            conflict: false,
        }),
    }
}

/// The schema has checked that the amount is a number of cents.
pub(crate) fn cost(budget: &Budget) -> Cost {
    let cents: u64 = budget.max_list_cost.amount.parse().unwrap_or(0);
    Cost::from_nano_usd(cents.saturating_mul(Cost::CENT.nano_usd))
}

pub(crate) fn toolset(agent: &SessionAgent) -> Toolset {
    let mut toolset = Toolset::default();
    for tool in &agent.tools {
        match tool {
            Tool::AgentToolset(set) => {
                for tool in BuiltInTool::ALL {
                    let config = set.config(tool);
                    let permission = match config.permission_policy {
                        PermissionPolicy::AlwaysAllow => Permission::AlwaysAllow,
                        PermissionPolicy::AlwaysAsk => Permission::AlwaysAsk,
                    };
                    if config.enabled {
                        toolset.built_in.insert(tool.as_str().to_owned(), permission);
                    }
                }
            }
            Tool::Custom(tool) => toolset.custom.push(CustomTool {
                name: tool.name.clone(),
                description: tool.description.clone(),
                input_schema: tool.input_schema.clone(),
            }),
        }
    }
    toolset
}
