//! Sessions: one row each, with what the session was made with and where its log ends.
//!
//! A session has one owner at a time. Claiming it raises its epoch; whoever holds an older one can no longer append.

use crate::moment::{from_micros, now, to_micros};
use crate::{Error, Store};
use domain::{Limits, SandboxId, SessionId, SessionStatus};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use time::OffsetDateTime;

/// What a session is made with.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    pub title: Option<String>,
    /// The directory that the agent works on a view of.
    pub workspace: Option<PathBuf>,
    pub model: String,
    pub limits: Limits,
    /// As `policy` writes them.
    pub egress_rules: Value,
    /// As `control` writes them: what only it reads.
    pub settings: Value,
    /// Of a session of the API.
    pub hosting: Option<Hosting>,
}

/// Whose a session is and what it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Hosting {
    pub workspace_id: String,
    pub agent_id: String,
    pub agent_version: u64,
    pub environment_id: String,
    /// As `control` writes it: what the API shows and nothing else reads.
    pub resource: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub id: SessionId,
    pub status: SessionStatus,
    pub title: Option<String>,
    pub workspace: Option<PathBuf>,
    pub model: String,
    pub limits: Limits,
    pub egress_rules: Value,
    pub settings: Value,
    pub hosting: Option<Hosting>,
    pub archived_at: Option<OffsetDateTime>,
    /// What its owner kept of the turn that is under way.
    pub turn: Option<String>,
    /// The last sandbox; its files stay until the session is removed.
    pub sandbox: Option<SandboxId>,
    /// From when on the sandbox may have seen the workspace: a file that the user changed later is in conflict.
    pub view_started_at: Option<OffsetDateTime>,
    pub epoch: u64,
    /// The number of its last event; 0 if there is none.
    pub last_seq: u64,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl Session {
    /// As it is when it is stored: idle, with epoch 1 and an empty log.
    pub fn new(new: &NewSession, created_at: OffsetDateTime) -> Self {
        let NewSession {
            id,
            title,
            workspace,
            model,
            limits,
            egress_rules,
            settings,
            hosting,
        } = new.clone();
        Self {
            id,
            status: SessionStatus::Idle,
            title,
            workspace,
            model,
            limits,
            egress_rules,
            settings,
            hosting,
            archived_at: None,
            turn: None,
            sandbox: None,
            view_started_at: None,
            epoch: 1,
            last_seq: 0,
            created_at,
            updated_at: created_at,
        }
    }
}

impl Store {
    /// A new idle session without events, owned by this instance with epoch 1.
    pub async fn create_session(&self, new: NewSession) -> Result<Session, Error> {
        let instance = self.instance().id().to_string();
        let session = Session::new(&new, now());
        self.write(move |connection| {
            Box::pin(async move {
                insert(connection, &session, &instance).await?;
                Ok(session)
            })
        })
        .await
    }

    pub async fn session(&self, id: &SessionId) -> Result<Session, Error> {
        sqlx::query("SELECT * FROM sessions WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.readers())
            .await
            .map_err(Error::at("reading a session"))?
            .map_or_else(
                || Err(Error::NoSession { session: id.clone() }),
                |row| session(&row),
            )
    }

    /// All sessions, the newest first.
    pub async fn sessions(&self) -> Result<Vec<Session>, Error> {
        let rows = sqlx::query("SELECT * FROM sessions ORDER BY created_at DESC, id DESC")
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("listing sessions"))?;
        rows.iter().map(session).collect()
    }

    /// Sessions that another instance left running, without those of the API: a server goes on with them. Called by the
    /// holder of the lock, so that instance is dead.
    pub async fn sessions_left_running(&self) -> Result<Vec<Session>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM sessions WHERE status <> 'idle' AND status <> 'terminated' AND instance_id <> $1 \
             AND workspace_id IS NULL ORDER BY created_at",
        )
        .bind(self.instance().id().as_str())
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("looking for sessions left running"))?;
        rows.iter().map(session).collect()
    }

    /// Sessions that are at work, whoever owns them.
    pub async fn sessions_under_way(&self) -> Result<Vec<Session>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM sessions WHERE status <> 'idle' AND status <> 'terminated' ORDER BY created_at",
        )
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("looking for sessions at work"))?;
        rows.iter().map(session).collect()
    }

    /// Makes this instance the owner and answers the new epoch: whatever an earlier owner still appends is refused.
    pub async fn claim_session(&self, id: &SessionId) -> Result<u64, Error> {
        let instance = self.instance().id().to_string();
        let id = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let epoch: Option<i64> = sqlx::query_scalar(
                    "UPDATE sessions SET epoch = epoch + 1, instance_id = $2 WHERE id = $1 RETURNING epoch",
                )
                .bind(id.as_str())
                .bind(instance)
                .fetch_optional(connection)
                .await
                .map_err(Error::at("claiming a session"))?;
                epoch
                    .map(|epoch| epoch as u64)
                    .ok_or(Error::NoSession { session: id })
            })
        })
        .await
    }

    /// Removes a session and all that is recorded of it, whoever owns it.
    pub async fn remove_session(&self, id: &SessionId) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let tables = [
                    "DELETE FROM egress_audit WHERE session_id = $1",
                    "DELETE FROM model_calls WHERE session_id = $1",
                    "DELETE FROM sandboxes WHERE session_id = $1",
                    "DELETE FROM runtime_lines WHERE session_id = $1",
                    "DELETE FROM events WHERE session_id = $1",
                    "DELETE FROM sessions WHERE id = $1",
                ];
                let mut removed = 0;
                for statement in tables {
                    let done = sqlx::query(statement)
                        .bind(id.as_str())
                        .execute(&mut *connection)
                        .await;
                    removed = done.map_err(Error::at("removing a session"))?.rows_affected();
                }
                if removed == 0 {
                    Err(Error::NoSession { session: id })
                } else {
                    Ok(())
                }
            })
        })
        .await
    }

    pub(crate) async fn record_instance(&self) -> Result<(), Error> {
        let (id, boot_id) = (
            self.instance().id().to_string(),
            self.instance().boot_id().to_owned(),
        );
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("INSERT INTO instances (id, boot_id, pid, started_at) VALUES ($1, $2, $3, $4)")
                    .bind(id)
                    .bind(boot_id)
                    .bind(i64::from(std::process::id()))
                    .bind(to_micros(now()))
                    .execute(connection)
                    .await
                    .map_err(Error::at("recording an instance"))
                    .map(|_| ())
            })
        })
        .await
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> crate::writer::Work<'c, T> + Send + 'static,
    {
        self.inner.writer.write(work).await
    }
}

pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    session: &Session,
    instance: &str,
) -> Result<(), Error> {
    let limits = json(&session.limits, "limits")?;
    let hosting = session.hosting.as_ref();
    sqlx::query(
        "INSERT INTO sessions (id, status, title, workspace_path, model, limits, egress_rules, settings, \
         instance_id, epoch, last_seq, created_at, updated_at, \
         workspace_id, agent_id, agent_version, environment_id, resource) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, 0, $10, $10, $11, $12, $13, $14, $15)",
    )
    .bind(session.id.as_str())
    .bind(session.status.as_str())
    .bind(session.title.as_deref())
    .bind(session.workspace.as_ref().map(|path| path.as_os_str().as_bytes()))
    .bind(&session.model)
    .bind(limits)
    .bind(session.egress_rules.to_string())
    .bind(session.settings.to_string())
    .bind(instance)
    .bind(to_micros(session.created_at))
    .bind(hosting.map(|hosting| hosting.workspace_id.as_str()))
    .bind(hosting.map(|hosting| hosting.agent_id.as_str()))
    .bind(hosting.map(|hosting| hosting.agent_version as i64))
    .bind(hosting.map(|hosting| hosting.environment_id.as_str()))
    .bind(hosting.map(|hosting| hosting.resource.to_string()))
    .execute(connection)
    .await
    .map_err(Error::at("creating a session"))
    .map(|_| ())
}

pub(crate) fn json<T: serde::Serialize>(value: &T, what: &'static str) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Unwritable {
        what,
        reason: error.to_string(),
    })
}

pub(crate) fn session(row: &SqliteRow) -> Result<Session, Error> {
    let id: String = row.get("id");
    let corrupt = || Error::corrupt(format!("session {id}"));
    let parse = |column: &str| {
        serde_json::from_str::<Value>(row.get(column)).map_err(|error| corrupt()(error.to_string()))
    };
    let status: String = row.get("status");
    let workspace: Option<Vec<u8>> = row.get("workspace_path");
    let sandbox: Option<String> = row.get("sandbox_id");
    let limits = serde_json::from_str(row.get("limits")).map_err(|error| corrupt()(error.to_string()))?;
    Ok(Session {
        id: id
            .parse()
            .map_err(|error: domain::IdError| corrupt()(error.to_string()))?,
        status: status.parse().map_err(corrupt())?,
        title: row.get("title"),
        workspace: workspace.map(|bytes| PathBuf::from(OsString::from_vec(bytes))),
        model: row.get("model"),
        limits,
        egress_rules: parse("egress_rules")?,
        settings: parse("settings")?,
        hosting: hosting(row).map_err(|error| corrupt()(error.to_string()))?,
        archived_at: row.get::<Option<i64>, _>("archived_at").map(from_micros),
        turn: row.get("turn"),
        sandbox: sandbox
            .map(|text| {
                text.parse()
                    .map_err(|error: domain::IdError| corrupt()(error.to_string()))
            })
            .transpose()?,
        view_started_at: row.get::<Option<i64>, _>("view_started_at").map(from_micros),
        epoch: row.get::<i64, _>("epoch") as u64,
        last_seq: row.get::<i64, _>("last_seq") as u64,
        created_at: from_micros(row.get("created_at")),
        updated_at: from_micros(row.get("updated_at")),
    })
}

fn hosting(row: &SqliteRow) -> Result<Option<Hosting>, serde_json::Error> {
    let Some(workspace_id) = row.get::<Option<String>, _>("workspace_id") else {
        return Ok(None);
    };
    Ok(Some(Hosting {
        workspace_id,
        agent_id: row.get::<Option<String>, _>("agent_id").unwrap_or_default(),
        agent_version: row.get::<Option<i64>, _>("agent_version").unwrap_or_default() as u64,
        environment_id: row.get::<Option<String>, _>("environment_id").unwrap_or_default(),
        resource: serde_json::from_str(row.get::<Option<&str>, _>("resource").unwrap_or("null"))?,
    }))
}
