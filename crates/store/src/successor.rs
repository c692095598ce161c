//! An instance that has given the data directory to the next one, and still reads what that one writes.

use crate::{Error, Store};
use domain::SessionId;
use sqlx::pool::PoolConnection;
use sqlx::{Row as _, Sqlite};
use std::collections::HashMap;

/// Tells whether anything was written.
pub struct Watch {
    connection: PoolConnection<Sqlite>,
    seen: Option<i64>,
}

impl Store {
    /// Writes what waits, then nothing any more, and frees the data directory. Reading goes on.
    pub async fn release(&self) {
        self.inner.writer.close().await;
        if let Err(error) = self.inner.instance.release() {
            tracing::error!(%error, "the data directory cannot be freed before this process ends");
        }
    }

    pub async fn watch(&self) -> Result<Watch, Error> {
        let connection = self.readers().acquire().await;
        Ok(Watch {
            connection: connection.map_err(Error::at("watching the database"))?,
            seen: None,
        })
    }

    /// The number of the last event of each of these sessions. One that is not there is left out.
    pub async fn last_numbers<'a>(
        &self,
        sessions: impl Iterator<Item = &'a SessionId>,
    ) -> Result<HashMap<SessionId, u64>, Error> {
        let ids = crate::sessions::json(&sessions.collect::<Vec<_>>(), "ids of sessions")?;
        let rows =
            sqlx::query("SELECT id, last_seq FROM sessions WHERE id IN (SELECT value FROM json_each($1))")
                .bind(ids)
                .fetch_all(self.readers())
                .await
                .map_err(Error::at("looking for the ends of logs"))?;
        let number = |row: &sqlx::sqlite::SqliteRow| {
            let id = row.get::<String, _>("id").parse::<SessionId>().ok()?;
            Some((id, row.get::<i64, _>("last_seq") as u64))
        };
        Ok(rows.iter().filter_map(number).collect())
    }
}

impl Watch {
    /// Whether there is something new since the last time; the first time there is.
    pub async fn is_changed(&mut self) -> Result<bool, Error> {
        let version: i64 = sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(&mut *self.connection)
            .await
            .map_err(Error::at("watching the database"))?;
        Ok(self.seen.replace(version) != Some(version))
    }
}
