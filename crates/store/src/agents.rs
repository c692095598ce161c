//! Agents: a row each for where the present version is, and every version as it was.

use crate::moment::{from_micros, now, to_micros};
use crate::sessions::json;
use crate::{Error, Refused, Store};
use domain::{AgentId, WorkspaceId};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use time::OffsetDateTime;
use wire::agents::{Agent, Definition};
use wire::page::{Position, Slice};
use wire::{Invalid, page};

const VERSIONS: &str = "SELECT a.id, v.version, v.definition, a.created_at, v.created_at AS updated_at, \
     a.archived_at FROM agents a JOIN agent_versions v ON v.agent_id = a.id \
     WHERE a.workspace_id = $1";

/// Which agents of a workspace; both times are included.
#[derive(Debug, Clone, Copy, Default)]
pub struct AgentFilter {
    pub include_archived: bool,
    pub created_from: Option<OffsetDateTime>,
    pub created_to: Option<OffsetDateTime>,
}

impl Store {
    pub async fn create_agent(
        &self,
        workspace: &WorkspaceId,
        definition: Definition,
    ) -> Result<Agent, Error> {
        let created_at = now();
        let agent = Agent {
            id: AgentId::random(),
            version: 1,
            definition,
            created_at,
            updated_at: created_at,
            archived_at: None,
        };
        let workspace = workspace.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO agents (id, workspace_id, version, created_at) VALUES ($1, $2, 1, $3)",
                )
                .bind(agent.id.as_str())
                .bind(workspace.as_str())
                .bind(to_micros(created_at))
                .execute(&mut *connection)
                .await
                .map_err(Error::at("creating an agent"))?;
                insert_version(connection, &agent).await?;
                Ok(agent)
            })
        })
        .await
    }

    /// In its present version, or as it was in an earlier one.
    pub async fn agent(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        version: Option<u64>,
    ) -> Result<Option<Agent>, Error> {
        let sql = format!("{VERSIONS} AND a.id = $2 AND v.version = COALESCE($3, a.version)");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(workspace.as_str())
            .bind(id.as_str())
            .bind(version.map(|version| i64::try_from(version).unwrap_or(i64::MAX)))
            .fetch_optional(self.readers())
            .await
            .map_err(Error::at("reading an agent"))?;
        row.map(|row| agent(&row)).transpose()
    }

    /// In their present versions, the newest agent first.
    pub async fn agents(
        &self,
        workspace: &WorkspaceId,
        filter: AgentFilter,
        slice: &Slice,
    ) -> Result<Vec<Agent>, Error> {
        let sql = format!(
            "{VERSIONS} AND v.version = a.version AND ($2 <> 0 OR a.archived_at IS NULL) \
             AND a.created_at BETWEEN $3 AND $4 AND (a.created_at, a.id) < ($5, $6) \
             ORDER BY a.created_at DESC, a.id DESC LIMIT $7"
        );
        let (at, id) = page::before(slice);
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(workspace.as_str())
            .bind(i64::from(filter.include_archived))
            .bind(filter.created_from.map_or(i64::MIN, to_micros))
            .bind(filter.created_to.map_or(i64::MAX, to_micros))
            .bind(at)
            .bind(id)
            .bind(slice.wanted())
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("listing agents"))?;
        rows.iter().map(agent).collect()
    }

    /// All versions of an agent, the newest first. None where the workspace has no such agent: an agent has at least
    /// one.
    pub async fn agent_versions(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        slice: &Slice,
    ) -> Result<Vec<Agent>, Error> {
        let sql = format!("{VERSIONS} AND a.id = $2 AND v.version < $3 ORDER BY v.version DESC LIMIT $4");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(workspace.as_str())
            .bind(id.as_str())
            .bind(slice.after.as_ref().map_or(i64::MAX, |position| position.at))
            .bind(slice.wanted())
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("listing versions of an agent"))?;
        rows.iter().map(agent).collect()
    }

    /// Makes a new version by `change`, if the present one is `expected`. A change that changes nothing makes none.
    pub async fn update_agent<F>(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        expected: Option<u64>,
        change: F,
    ) -> Result<Result<Agent, Refused>, Error>
    where
        F: FnOnce(Definition) -> Result<Definition, Invalid> + Send + 'static,
    {
        let (workspace, id) = (workspace.clone(), id.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let Some(mut agent) = present(connection, &workspace, &id).await? else {
                    return Ok(Err(Refused::NotFound));
                };
                if agent.archived_at.is_some() {
                    return Ok(Err(Refused::Archived));
                }
                if expected.is_some_and(|expected| expected != agent.version) {
                    let present = agent.version;
                    return Ok(Err(Refused::VersionConflict { present }));
                }
                let definition = match change(agent.definition.clone()) {
                    Ok(definition) => definition,
                    Err(invalid) => return Ok(Err(Refused::Invalid(invalid))),
                };
                if definition == agent.definition {
                    return Ok(Ok(agent));
                }
                agent.definition = definition;
                agent.version += 1;
                agent.updated_at = now().max(agent.updated_at);
                sqlx::query("UPDATE agents SET version = $2 WHERE id = $1")
                    .bind(agent.id.as_str())
                    .bind(agent.version as i64)
                    .execute(&mut *connection)
                    .await
                    .map_err(Error::at("updating an agent"))?;
                insert_version(connection, &agent).await?;
                Ok(Ok(agent))
            })
        })
        .await
    }

    /// Archives it, for good; one that is archived stays as it is.
    pub async fn archive_agent(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
    ) -> Result<Result<Agent, Refused>, Error> {
        let (workspace, id) = (workspace.clone(), id.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let Some(mut agent) = present(connection, &workspace, &id).await? else {
                    return Ok(Err(Refused::NotFound));
                };
                if agent.archived_at.is_none() {
                    let archived_at = now();
                    sqlx::query("UPDATE agents SET archived_at = $2 WHERE id = $1")
                        .bind(agent.id.as_str())
                        .bind(to_micros(archived_at))
                        .execute(connection)
                        .await
                        .map_err(Error::at("archiving an agent"))?;
                    agent.archived_at = Some(archived_at);
                }
                Ok(Ok(agent))
            })
        })
        .await
    }
}

/// Where an agent stands in a list.
pub fn position(agent: &Agent) -> Position {
    Position {
        at: to_micros(agent.created_at),
        id: agent.id.to_string(),
    }
}

async fn present(
    connection: &mut SqliteConnection,
    workspace: &WorkspaceId,
    id: &AgentId,
) -> Result<Option<Agent>, Error> {
    let sql = format!("{VERSIONS} AND a.id = $2 AND v.version = a.version");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(workspace.as_str())
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(Error::at("reading an agent"))?;
    row.map(|row| agent(&row)).transpose()
}

async fn insert_version(connection: &mut SqliteConnection, agent: &Agent) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO agent_versions (agent_id, version, definition, created_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(agent.id.as_str())
    .bind(agent.version as i64)
    .bind(json(&agent.definition, "an agent")?)
    .bind(to_micros(agent.updated_at))
    .execute(connection)
    .await
    .map_err(Error::at("storing a version of an agent"))
    .map(|_| ())
}

fn agent(row: &SqliteRow) -> Result<Agent, Error> {
    let id: String = row.get("id");
    let corrupt = || Error::corrupt(format!("agent {id}"));
    let definition = serde_json::from_str(row.get("definition"));
    Ok(Agent {
        id: id
            .parse()
            .map_err(|error: domain::IdError| corrupt()(error.to_string()))?,
        version: row.get::<i64, _>("version") as u64,
        definition: definition.map_err(|error| corrupt()(error.to_string()))?,
        created_at: from_micros(row.get("created_at")),
        updated_at: from_micros(row.get("updated_at")),
        archived_at: row.get::<Option<i64>, _>("archived_at").map(from_micros),
    })
}
