//! Agents of a workspace.

use crate::ResourceError;
use domain::{AgentId, WorkspaceId};
use store::{AgentFilter, Store};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wire::Page;
use wire::agents::{Agent, Create, List, ListVersions, Update};
use wire::page::{Listing, Order, Position};

const KIND: &str = "agent";

pub struct Agents {
    store: Store,
}

impl Agents {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub async fn create(&self, workspace: &WorkspaceId, create: Create) -> Result<Agent, ResourceError> {
        Ok(self.store.create_agent(workspace, create.into()).await?)
    }

    /// In its present version, or as it was in an earlier one.
    pub async fn get(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        version: Option<u64>,
    ) -> Result<Agent, ResourceError> {
        let found = self.store.agent(workspace, id, version).await?;
        found.ok_or_else(|| {
            let version = version.map(|version| format!(" in version {version}"));
            ResourceError::not_found(KIND, format!("{id}{}", version.unwrap_or_default()))
        })
    }

    /// The newest first.
    pub async fn list(&self, workspace: &WorkspaceId, list: List) -> Result<Page<Agent>, ResourceError> {
        let archived = list.include_archived.then(|| "true".to_owned());
        let slice = Listing::new("agents", Order::Desc)
            .filter("workspace", Some(workspace.to_string()))
            .filter("include_archived", archived)
            .filter("created_at[gte]", list.created_from.and_then(written))
            .filter("created_at[lte]", list.created_to.and_then(written))
            .slice(list.page.as_deref(), list.limit)?;
        let filter = AgentFilter {
            include_archived: list.include_archived,
            created_from: list.created_from,
            created_to: list.created_to,
        };
        let found = self.store.agents(workspace, filter, &slice).await?;
        Ok(slice.page(found, store::agents::position))
    }

    /// The newest first.
    pub async fn versions(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        list: ListVersions,
    ) -> Result<Page<Agent>, ResourceError> {
        let slice = Listing::new("agent_versions", Order::Desc)
            .filter("agent", Some(id.to_string()))
            .slice(list.page.as_deref(), list.limit)?;
        let found = self.store.agent_versions(workspace, id, &slice).await?;
        if found.is_empty() && slice.after.is_none() {
            return Err(ResourceError::not_found(KIND, id.as_str()));
        }
        Ok(slice.page(found, |agent| Position {
            at: agent.version as i64,
            id: agent.id.to_string(),
        }))
    }

    pub async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        update: Update,
    ) -> Result<Agent, ResourceError> {
        let expected = update.version;
        let change = move |definition| update.apply(definition);
        let updated = self.store.update_agent(workspace, id, expected, change).await?;
        updated.map_err(ResourceError::refused(KIND, id.as_str()))
    }

    /// For good. Sessions that have the agent go on.
    pub async fn archive(&self, workspace: &WorkspaceId, id: &AgentId) -> Result<Agent, ResourceError> {
        let archived = self.store.archive_agent(workspace, id).await?;
        archived.map_err(ResourceError::refused(KIND, id.as_str()))
    }
}

fn written(moment: OffsetDateTime) -> Option<String> {
    moment.format(&Rfc3339).ok()
}
