//! Sessions of the API, as they are listed: by workspace, newest or oldest first.

use crate::moment::{now, to_micros};
use crate::sessions::session;
use crate::{Error, Session, Store};
use domain::{SessionId, SessionStatus, WorkspaceId};
use sqlx::{QueryBuilder, Sqlite};
use time::OffsetDateTime;
use wire::page::{Order, Position, Slice};

/// Which sessions; a bound is inclusive.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    pub agent_id: Option<String>,
    pub agent_version: Option<u64>,
    /// All if empty.
    pub statuses: Vec<SessionStatus>,
    pub include_archived: bool,
    pub created_from: Option<OffsetDateTime>,
    pub created_to: Option<OffsetDateTime>,
}

impl Store {
    /// In the order in which the slice asks for them.
    pub async fn hosted_sessions(
        &self,
        workspace: &WorkspaceId,
        filter: &SessionFilter,
        slice: &Slice,
    ) -> Result<Vec<Session>, Error> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM sessions WHERE workspace_id = ");
        sql.push_bind(workspace.as_str());
        if let Some(agent_id) = &filter.agent_id {
            sql.push(" AND agent_id = ").push_bind(agent_id);
        }
        if let Some(version) = filter.agent_version {
            sql.push(" AND agent_version = ").push_bind(version as i64);
        }
        if !filter.include_archived {
            sql.push(" AND archived_at IS NULL");
        }
        if !filter.statuses.is_empty() {
            sql.push(" AND status IN (");
            let mut list = sql.separated(", ");
            for status in &filter.statuses {
                list.push_bind(status.as_str());
            }
            sql.push(")");
        }
        if let Some(from) = filter.created_from {
            sql.push(" AND created_at >= ").push_bind(to_micros(from));
        }
        if let Some(to) = filter.created_to {
            sql.push(" AND created_at <= ").push_bind(to_micros(to));
        }
        let (sign, direction) = match slice.order() {
            Order::Asc => (">", "ASC"),
            Order::Desc => ("<", "DESC"),
        };
        if let Some(Position { at, id }) = &slice.after {
            sql.push(format!(" AND (created_at, id) {sign} ("));
            sql.push_bind(*at).push(", ").push_bind(id).push(")");
        }
        sql.push(format!(" ORDER BY created_at {direction}, id {direction} LIMIT "));
        sql.push_bind(slice.wanted());
        let rows = sql
            .build()
            .fetch_all(self.readers())
            .await
            .map_err(Error::at("listing sessions"))?;
        rows.iter().map(session).collect()
    }

    /// Marks a session as archived; one that is stays as it is.
    pub async fn archive_session(&self, id: &SessionId) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE sessions SET archived_at = $2, updated_at = $2 WHERE id = $1 AND archived_at IS NULL",
                )
                .bind(id.as_str())
                .bind(to_micros(now()))
                .execute(connection)
                .await
                .map_err(Error::at("archiving a session"))
                .map(|_| ())
            })
        })
        .await
    }
}

/// Where a session stands in a list.
pub fn position(session: &Session) -> Position {
    Position {
        at: to_micros(session.created_at),
        id: session.id.to_string(),
    }
}
