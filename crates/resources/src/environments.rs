//! Environments of a workspace.

use crate::ResourceError;
use domain::{EnvironmentId, Limits, WorkspaceId};
use store::Store;
use wire::Page;
use wire::environments::{Create, Deleted, Environment, List, Update};
use wire::page::{Listing, Order};

const KIND: &str = "environment";

pub struct Environments {
    store: Store,
    /// Of sandboxes, where nobody says others.
    limits: Limits,
}

impl Environments {
    pub(crate) fn new(store: Store, limits: Limits) -> Self {
        Self { store, limits }
    }

    pub async fn create(
        &self,
        workspace: &WorkspaceId,
        create: Create,
    ) -> Result<Environment, ResourceError> {
        let definition = create.define(&self.limits);
        Ok(self.store.create_environment(workspace, definition).await?)
    }

    pub async fn get(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
    ) -> Result<Environment, ResourceError> {
        let found = self.store.environment(workspace, id).await?;
        found.ok_or_else(|| ResourceError::not_found(KIND, id.as_str()))
    }

    /// The newest first.
    pub async fn list(
        &self,
        workspace: &WorkspaceId,
        list: List,
    ) -> Result<Page<Environment>, ResourceError> {
        let archived = list.include_archived.then(|| "true".to_owned());
        let slice = Listing::new("environments", Order::Desc)
            .filter("workspace", Some(workspace.to_string()))
            .filter("include_archived", archived)
            .slice(list.page.as_deref(), list.limit)?;
        let found = self
            .store
            .environments(workspace, list.include_archived, &slice)
            .await?;
        Ok(slice.page(found, store::environments::position))
    }

    pub async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
        update: Update,
    ) -> Result<Environment, ResourceError> {
        let limits = self.limits;
        let change = move |definition| update.apply(definition, &limits);
        let updated = self.store.update_environment(workspace, id, change).await?;
        updated.map_err(ResourceError::refused(KIND, id.as_str()))
    }

    /// For good. No session can be made from it any more; those that were made go on.
    pub async fn archive(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
    ) -> Result<Environment, ResourceError> {
        let archived = self.store.archive_environment(workspace, id).await?;
        archived.map_err(ResourceError::refused(KIND, id.as_str()))
    }

    /// Refused while sessions use it.
    pub async fn delete(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
    ) -> Result<Deleted, ResourceError> {
        let deleted = self.store.delete_environment(workspace, id).await?;
        deleted.map_err(ResourceError::refused(KIND, id.as_str()))?;
        Ok(Deleted { id: id.clone() })
    }
}
