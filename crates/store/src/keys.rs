//! Keys of the API, by their hashes, and the workspaces that they open.

use crate::moment::{from_micros, now, to_micros};
use crate::{Error, Store};
use domain::{KeyId, WorkspaceId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

/// The SHA-256 of a key.
pub type KeyHash = [u8; 32];

#[derive(Debug, Clone)]
pub struct NewKey {
    pub workspace: WorkspaceId,
    pub name: Option<String>,
    /// The first characters of the key.
    pub prefix: String,
    pub hash: KeyHash,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: KeyId,
    pub workspace: WorkspaceId,
    pub name: Option<String>,
    pub prefix: String,
    pub hash: KeyHash,
    pub created_at: OffsetDateTime,
    /// In steps of a minute.
    pub last_used_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
}

impl Store {
    /// Makes the key's workspace too, where it is not there.
    pub async fn create_key(&self, new: NewKey) -> Result<Key, Error> {
        let key = Key {
            id: KeyId::random(),
            workspace: new.workspace,
            name: new.name,
            prefix: new.prefix,
            hash: new.hash,
            created_at: now(),
            last_used_at: None,
            revoked_at: None,
        };
        self.write(move |connection| {
            Box::pin(async move {
                insert_workspace(connection, &key.workspace).await?;
                sqlx::query(
                    "INSERT INTO api_keys (id, workspace_id, name, prefix, hash, created_at) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(key.id.as_str())
                .bind(key.workspace.as_str())
                .bind(key.name.as_deref())
                .bind(&key.prefix)
                .bind(&key.hash[..])
                .bind(to_micros(key.created_at))
                .execute(connection)
                .await
                .map_err(Error::at("creating a key"))?;
                Ok(key)
            })
        })
        .await
    }

    /// All keys, the oldest first, those that were revoked included.
    pub async fn keys(&self) -> Result<Vec<Key>, Error> {
        let rows = sqlx::query("SELECT * FROM api_keys ORDER BY created_at, id")
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("listing keys"))?;
        rows.iter().map(key).collect()
    }

    /// Ends a key; one that was revoked stays as it is. Nothing where there is no such key.
    pub async fn revoke_key(&self, id: &KeyId) -> Result<Option<Key>, Error> {
        let id = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let row = sqlx::query(
                    "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1 RETURNING *",
                )
                .bind(id.as_str())
                .bind(to_micros(now()))
                .fetch_optional(connection)
                .await
                .map_err(Error::at("revoking a key"))?;
                row.map(|row| key(&row)).transpose()
            })
        })
        .await
    }

    pub async fn record_key_use(&self, id: &KeyId, at: OffsetDateTime) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE api_keys SET last_used_at = $2 WHERE id = $1")
                    .bind(id.as_str())
                    .bind(to_micros(at))
                    .execute(connection)
                    .await
                    .map_err(Error::at("recording the use of a key"))
                    .map(|_| ())
            })
        })
        .await
    }

    /// Makes a workspace; one that is there stays as it is.
    pub async fn create_workspace(&self, workspace: &WorkspaceId) -> Result<(), Error> {
        let workspace = workspace.clone();
        self.write(move |connection| Box::pin(async move { insert_workspace(connection, &workspace).await }))
            .await
    }

    /// All workspaces, by name.
    pub async fn workspaces(&self) -> Result<Vec<(WorkspaceId, OffsetDateTime)>, Error> {
        let rows = sqlx::query("SELECT id, created_at FROM workspaces ORDER BY id")
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("listing workspaces"))?;
        let read = |row: &SqliteRow| {
            let id = workspace(row.get("id"))?;
            Ok((id, from_micros(row.get("created_at"))))
        };
        rows.iter().map(read).collect()
    }
}

async fn insert_workspace(connection: &mut SqliteConnection, workspace: &WorkspaceId) -> Result<(), Error> {
    sqlx::query("INSERT INTO workspaces (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .bind(workspace.as_str())
        .bind(to_micros(now()))
        .execute(connection)
        .await
        .map_err(Error::at("making a workspace"))
        .map(|_| ())
}

fn workspace(name: &str) -> Result<WorkspaceId, Error> {
    let corrupt = Error::corrupt(format!("workspace {name}"));
    name.parse()
        .map_err(|error: domain::WorkspaceError| corrupt(error.to_string()))
}

fn key(row: &SqliteRow) -> Result<Key, Error> {
    let id: String = row.get("id");
    let corrupt = || Error::corrupt(format!("key {id}"));
    let hash: Vec<u8> = row.get("hash");
    Ok(Key {
        id: id
            .parse()
            .map_err(|error: domain::IdError| corrupt()(error.to_string()))?,
        workspace: workspace(row.get("workspace_id"))?,
        name: row.get("name"),
        prefix: row.get("prefix"),
        hash: hash
            .try_into()
            .map_err(|_| corrupt()("its hash is not one".to_owned()))?,
        created_at: from_micros(row.get("created_at")),
        last_used_at: row.get::<Option<i64>, _>("last_used_at").map(from_micros),
        revoked_at: row.get::<Option<i64>, _>("revoked_at").map(from_micros),
    })
}
