//! How many of what there are, for who watches over a server.

use crate::{Error, Store, sandboxes};
use domain::{SandboxState, SessionStatus};
use sqlx::Row as _;

/// What is there now; nothing is said of what there is none of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    pub sessions: Vec<(SessionStatus, u64)>,
    /// Those that are not destroyed.
    pub sandboxes: Vec<(SandboxState, u64)>,
    /// Sandboxes that no session has taken.
    pub spare_sandboxes: u64,
}

impl Store {
    /// That the database can be read.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1")
            .execute(self.readers())
            .await
            .map_err(Error::at("answering whether it is there"))
            .map(|_| ())
    }

    pub async fn census(&self) -> Result<Census, Error> {
        let corrupt = |reason| Error::Corrupt {
            what: "the number of sessions".to_owned(),
            reason,
        };
        let rows = sqlx::query("SELECT status, COUNT(*) AS number FROM sessions GROUP BY status")
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("counting sessions"))?;
        let mut census = Census::default();
        for row in rows {
            let status = row.get::<&str, _>("status").parse().map_err(corrupt)?;
            census.sessions.push((status, row.get::<i64, _>("number") as u64));
        }
        let rows = sqlx::query(
            "SELECT state, COUNT(*) AS number FROM sandboxes WHERE state <> 'destroyed' GROUP BY state",
        )
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("counting sandboxes"))?;
        for row in rows {
            let state = sandboxes::state_named(row.get("state")).map_err(corrupt)?;
            census.sandboxes.push((state, row.get::<i64, _>("number") as u64));
        }
        let spare: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM spare_sandboxes")
            .fetch_one(self.readers())
            .await
            .map_err(Error::at("counting spare sandboxes"))?;
        census.spare_sandboxes = spare as u64;
        Ok(census)
    }
}
