//! Environments: a row each, as it is now.

use crate::moment::{from_micros, now, to_micros};
use crate::sessions::json;
use crate::{Error, Refused, Store};
use domain::{EnvironmentId, WorkspaceId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use wire::environments::{Definition, Environment};
use wire::page::{Position, Slice};
use wire::{Invalid, page};

impl Store {
    pub async fn create_environment(
        &self,
        workspace: &WorkspaceId,
        definition: Definition,
    ) -> Result<Environment, Error> {
        let created_at = now();
        let environment = Environment {
            id: EnvironmentId::random(),
            definition,
            created_at,
            updated_at: created_at,
            archived_at: None,
        };
        let workspace = workspace.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO environments (id, workspace_id, definition, created_at, updated_at) \
                     VALUES ($1, $2, $3, $4, $4)",
                )
                .bind(environment.id.as_str())
                .bind(workspace.as_str())
                .bind(json(&environment.definition, "an environment")?)
                .bind(to_micros(created_at))
                .execute(connection)
                .await
                .map_err(Error::at("creating an environment"))?;
                Ok(environment)
            })
        })
        .await
    }

    pub async fn environment(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
    ) -> Result<Option<Environment>, Error> {
        let row = sqlx::query("SELECT * FROM environments WHERE id = $1 AND workspace_id = $2")
            .bind(id.as_str())
            .bind(workspace.as_str())
            .fetch_optional(self.readers())
            .await
            .map_err(Error::at("reading an environment"))?;
        row.map(|row| environment(&row)).transpose()
    }

    /// The newest first.
    pub async fn environments(
        &self,
        workspace: &WorkspaceId,
        include_archived: bool,
        slice: &Slice,
    ) -> Result<Vec<Environment>, Error> {
        let (at, id) = page::before(slice);
        let rows = sqlx::query(
            "SELECT * FROM environments WHERE workspace_id = $1 AND ($2 <> 0 OR archived_at IS NULL) \
             AND (created_at, id) < ($3, $4) ORDER BY created_at DESC, id DESC LIMIT $5",
        )
        .bind(workspace.as_str())
        .bind(i64::from(include_archived))
        .bind(at)
        .bind(id)
        .bind(slice.wanted())
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("listing environments"))?;
        rows.iter().map(environment).collect()
    }

    /// A change that changes nothing leaves the time of the last one as it is.
    pub async fn update_environment<F>(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
        change: F,
    ) -> Result<Result<Environment, Refused>, Error>
    where
        F: FnOnce(Definition) -> Result<Definition, Invalid> + Send + 'static,
    {
        let (workspace, id) = (workspace.clone(), id.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let Some(mut environment) = present(connection, &workspace, &id).await? else {
                    return Ok(Err(Refused::NotFound));
                };
                if environment.archived_at.is_some() {
                    return Ok(Err(Refused::Archived));
                }
                let definition = match change(environment.definition.clone()) {
                    Ok(definition) => definition,
                    Err(invalid) => return Ok(Err(Refused::Invalid(invalid))),
                };
                if definition != environment.definition {
                    environment.definition = definition;
                    environment.updated_at = now().max(environment.updated_at);
                    store_definition(connection, &environment).await?;
                }
                Ok(Ok(environment))
            })
        })
        .await
    }

    /// Archives it, for good; one that is archived stays as it is.
    pub async fn archive_environment(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
    ) -> Result<Result<Environment, Refused>, Error> {
        let (workspace, id) = (workspace.clone(), id.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let Some(mut environment) = present(connection, &workspace, &id).await? else {
                    return Ok(Err(Refused::NotFound));
                };
                if environment.archived_at.is_none() {
                    let archived_at = now();
                    sqlx::query("UPDATE environments SET archived_at = $2 WHERE id = $1")
                        .bind(environment.id.as_str())
                        .bind(to_micros(archived_at))
                        .execute(connection)
                        .await
                        .map_err(Error::at("archiving an environment"))?;
                    environment.archived_at = Some(archived_at);
                }
                Ok(Ok(environment))
            })
        })
        .await
    }

    /// Removes it, unless sessions were made from it.
    pub async fn delete_environment(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
    ) -> Result<Result<(), Refused>, Error> {
        let (workspace, id) = (workspace.clone(), id.clone());
        self.write(move |connection| {
            Box::pin(async move {
                if present(connection, &workspace, &id).await?.is_none() {
                    return Ok(Err(Refused::NotFound));
                }
                let sessions: i64 =
                    sqlx::query_scalar("SELECT COUNT(*) FROM sessions WHERE environment_id = $1")
                        .bind(id.as_str())
                        .fetch_one(&mut *connection)
                        .await
                        .map_err(Error::at("counting an environment's sessions"))?;
                if sessions > 0 {
                    let sessions = sessions as u64;
                    return Ok(Err(Refused::InUse { sessions }));
                }
                sqlx::query("DELETE FROM environments WHERE id = $1")
                    .bind(id.as_str())
                    .execute(connection)
                    .await
                    .map_err(Error::at("deleting an environment"))?;
                Ok(Ok(()))
            })
        })
        .await
    }
}

/// Where an environment stands in a list.
pub fn position(environment: &Environment) -> Position {
    Position {
        at: to_micros(environment.created_at),
        id: environment.id.to_string(),
    }
}

async fn present(
    connection: &mut SqliteConnection,
    workspace: &WorkspaceId,
    id: &EnvironmentId,
) -> Result<Option<Environment>, Error> {
    let row = sqlx::query("SELECT * FROM environments WHERE id = $1 AND workspace_id = $2")
        .bind(id.as_str())
        .bind(workspace.as_str())
        .fetch_optional(connection)
        .await
        .map_err(Error::at("reading an environment"))?;
    row.map(|row| environment(&row)).transpose()
}

async fn store_definition(connection: &mut SqliteConnection, environment: &Environment) -> Result<(), Error> {
    sqlx::query("UPDATE environments SET definition = $2, updated_at = $3 WHERE id = $1")
        .bind(environment.id.as_str())
        .bind(json(&environment.definition, "an environment")?)
        .bind(to_micros(environment.updated_at))
        .execute(connection)
        .await
        .map_err(Error::at("updating an environment"))
        .map(|_| ())
}

fn environment(row: &SqliteRow) -> Result<Environment, Error> {
    let id: String = row.get("id");
    let corrupt = || Error::corrupt(format!("environment {id}"));
    let definition = serde_json::from_str(row.get("definition"));
    Ok(Environment {
        id: id
            .parse()
            .map_err(|error: domain::IdError| corrupt()(error.to_string()))?,
        definition: definition.map_err(|error| corrupt()(error.to_string()))?,
        created_at: from_micros(row.get("created_at")),
        updated_at: from_micros(row.get("updated_at")),
        archived_at: row.get::<Option<i64>, _>("archived_at").map(from_micros),
    })
}
