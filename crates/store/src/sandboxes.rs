//! Sandboxes: which session each was made for, by which instance, and in what state it is as far as we know.
//!
//! A sandbox is recorded before it is built, so that nothing is built that the next start does not know of. The moves
//! between states are `domain`'s.

use crate::moment::{from_micros, now, to_micros};
use crate::{Error, Store};
use domain::{InstanceId, SandboxId, SandboxState, SessionId};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    pub id: SandboxId,
    pub session: SessionId,
    /// Who made it.
    pub instance: InstanceId,
    pub state: SandboxState,
    /// The key that it shows the gateway.
    pub token: Option<String>,
    pub created_at: OffsetDateTime,
    /// Of its last move; the end of one that is destroyed.
    pub updated_at: OffsetDateTime,
}

impl Store {
    /// Moves a sandbox to a state; to the one it is in already changes nothing.
    pub async fn set_sandbox_state(&self, id: &SandboxId, to: SandboxState) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |connection| Box::pin(async move { set_state(connection, &id, to).await }))
            .await
    }

    /// Sandboxes that are not destroyed and were made by another instance, without those of the API's sessions. Called by
    /// the holder of the lock, so that instance is dead.
    pub async fn sandboxes_left_behind(&self) -> Result<Vec<Sandbox>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM sandboxes WHERE state <> 'destroyed' AND instance_id <> $1 \
             AND session_id IN (SELECT id FROM sessions WHERE workspace_id IS NULL)",
        )
        .bind(self.instance().id().as_str())
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("looking for sandboxes left behind"))?;
        rows.iter().map(sandbox).collect()
    }

    /// Sandboxes that are not destroyed as far as is known, whoever made them.
    pub async fn sandboxes_alive(&self) -> Result<Vec<Sandbox>, Error> {
        let rows = sqlx::query("SELECT * FROM sandboxes WHERE state <> 'destroyed'")
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("looking for sandboxes"))?;
        rows.iter().map(sandbox).collect()
    }

    /// Records a sandbox that is about to be made for no session yet.
    pub async fn add_spare_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("INSERT INTO spare_sandboxes (id, created_at) VALUES ($1, $2)")
                    .bind(id.as_str())
                    .bind(to_micros(now()))
                    .execute(connection)
                    .await
                    .map_err(Error::at("recording a spare sandbox"))
                    .map(|_| ())
            })
        })
        .await
    }

    /// Forgets one that is gone with its files.
    pub async fn remove_spare_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM spare_sandboxes WHERE id = $1")
                    .bind(id.as_str())
                    .execute(connection)
                    .await
                    .map_err(Error::at("forgetting a spare sandbox"))
                    .map(|_| ())
            })
        })
        .await
    }

    /// Those that no session has taken.
    pub async fn spare_sandboxes(&self) -> Result<Vec<SandboxId>, Error> {
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM spare_sandboxes ORDER BY created_at, id")
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("looking for spare sandboxes"))?;
        let read = |id: String| {
            id.parse().map_err(|error: domain::IdError| Error::Corrupt {
                what: "a spare sandbox".to_owned(),
                reason: error.to_string(),
            })
        };
        ids.into_iter().map(read).collect()
    }

    /// Every sandbox that a session had, the oldest first.
    pub async fn sandboxes_of(&self, session: &SessionId) -> Result<Vec<Sandbox>, Error> {
        let rows = sqlx::query("SELECT * FROM sandboxes WHERE session_id = $1 ORDER BY created_at, id")
            .bind(session.as_str())
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("listing sandboxes"))?;
        rows.iter().map(sandbox).collect()
    }
}

/// A change of a session's sandbox that goes with an append.
#[derive(Debug, Clone)]
pub enum SandboxChange {
    /// It is about to be built, and is the session's present one from now.
    Begin {
        id: SandboxId,
        view_started_at: OffsetDateTime,
        /// The key that it shows the gateway.
        token: String,
    },
    State {
        id: SandboxId,
        to: SandboxState,
    },
}

pub(crate) async fn apply(
    connection: &mut SqliteConnection,
    session: &SessionId,
    change: &SandboxChange,
) -> Result<(), Error> {
    match change {
        SandboxChange::Begin {
            id,
            view_started_at,
            token,
        } => begin(connection, session, id, *view_started_at, token).await,
        SandboxChange::State { id, to } => set_state(connection, id, *to).await,
    }
}

async fn begin(
    connection: &mut SqliteConnection,
    session: &SessionId,
    id: &SandboxId,
    view_started_at: OffsetDateTime,
    token: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO sandboxes (id, session_id, instance_id, state, created_at, updated_at, token) \
         SELECT $1, $2, instance_id, 'starting', $3, $3, $4 FROM sessions WHERE id = $2; \
         UPDATE sessions SET sandbox_id = $1, view_started_at = $5 WHERE id = $2; \
         DELETE FROM spare_sandboxes WHERE id = $1;",
    )
    .bind(id.as_str())
    .bind(session.as_str())
    .bind(to_micros(now()))
    .bind(token)
    .bind(to_micros(view_started_at))
    .execute(connection)
    .await
    .map_err(Error::at("recording a session's sandbox"))
    .map(|_| ())
}

async fn set_state(connection: &mut SqliteConnection, id: &SandboxId, to: SandboxState) -> Result<(), Error> {
    let found: Option<String> = sqlx::query_scalar("SELECT state FROM sandboxes WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(&mut *connection)
        .await
        .map_err(Error::at("reading a sandbox"))?;
    let Some(found) = found else {
        return Err(Error::NoSandbox { sandbox: id.clone() });
    };
    let from = state(id, &found)?;
    if from == to {
        return Ok(());
    }
    if !from.may_become(to) {
        return Err(Error::SandboxMove {
            sandbox: id.clone(),
            from,
            to,
        });
    }
    sqlx::query("UPDATE sandboxes SET state = $2, updated_at = $3 WHERE id = $1")
        .bind(id.as_str())
        .bind(state_name(to))
        .bind(to_micros(now()))
        .execute(connection)
        .await
        .map_err(Error::at("moving a sandbox"))
        .map(|_| ())
}

fn state_name(state: SandboxState) -> String {
    match serde_json::to_value(state) {
        Ok(Value::String(name)) => name,
        // A unit variant is always a string.
        _ => String::new(),
    }
}

fn state(id: &SandboxId, name: &str) -> Result<SandboxState, Error> {
    state_named(name).map_err(|reason| Error::Corrupt {
        what: format!("sandbox {id}"),
        reason,
    })
}

pub(crate) fn state_named(name: &str) -> Result<SandboxState, String> {
    serde_json::from_value(Value::from(name)).map_err(|error| error.to_string())
}

fn sandbox(row: &SqliteRow) -> Result<Sandbox, Error> {
    let text: String = row.get("id");
    let corrupt = |error: domain::IdError| Error::Corrupt {
        what: format!("sandbox {text}"),
        reason: error.to_string(),
    };
    let id: SandboxId = text.parse().map_err(corrupt)?;
    Ok(Sandbox {
        session: row.get::<&str, _>("session_id").parse().map_err(corrupt)?,
        instance: row.get::<&str, _>("instance_id").parse().map_err(corrupt)?,
        state: state(&id, row.get("state"))?,
        token: row.get("token"),
        created_at: from_micros(row.get("created_at")),
        updated_at: from_micros(row.get("updated_at")),
        id,
    })
}
