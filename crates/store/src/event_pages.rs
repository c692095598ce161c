//! Pages of a session's log, for who looks at it from outside: in either direction, by type and time.

use crate::events::{PAGE_BYTES, logged_event};
use crate::moment::to_micros;
use crate::{Error, LoggedEvent, Store};
use domain::{EventId, SessionId};
use futures_util::TryStreamExt;
use sqlx::{QueryBuilder, Row, Sqlite};
use time::OffsetDateTime;
use wire::page::Order;

const BY_ID: &str = "SELECT seq FROM events WHERE session_id = $1 AND id = $2";

/// Which events; bounds are inclusive, and of when an event was processed.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// All if empty.
    pub types: Vec<String>,
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
    pub order: Order,
    /// The number of the last event before the page.
    pub after: Option<u64>,
    pub limit: usize,
}

impl Store {
    /// Up to one event more than the limit, or fewer where they are large: then there are more too, and the answer says
    /// so.
    pub async fn event_page(
        &self,
        session: &SessionId,
        filter: &EventFilter,
    ) -> Result<(Vec<LoggedEvent>, bool), Error> {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT seq, id, body, created_at, processed_at FROM events WHERE session_id = ",
        );
        sql.push_bind(session.as_str());
        if !filter.types.is_empty() {
            sql.push(" AND type IN (");
            let mut list = sql.separated(", ");
            for kind in &filter.types {
                list.push_bind(kind);
            }
            sql.push(")");
        }
        if let Some(from) = filter.from {
            sql.push(" AND processed_at >= ").push_bind(to_micros(from));
        }
        if let Some(to) = filter.to {
            sql.push(" AND processed_at <= ").push_bind(to_micros(to));
        }
        let (sign, direction) = match filter.order {
            Order::Asc => (">", "ASC"),
            Order::Desc => ("<", "DESC"),
        };
        if let Some(after) = filter.after {
            sql.push(format!(" AND seq {sign} ")).push_bind(after as i64);
        }
        sql.push(format!(" ORDER BY seq {direction} LIMIT "));
        sql.push_bind(filter.limit as i64 + 1);
        let mut rows = sql.build().fetch(self.readers());
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(Error::at("reading events"))? {
            bytes += row.get::<&str, _>("body").len();
            if found.len() == filter.limit || (bytes > PAGE_BYTES && !found.is_empty()) {
                return Ok((found, true));
            }
            found.push(logged_event(session, &row)?);
        }
        Ok((found, false))
    }

    /// The number of an event.
    pub async fn event_seq(&self, session: &SessionId, id: &EventId) -> Result<Option<u64>, Error> {
        let seq: Option<i64> = sqlx::query_scalar(BY_ID)
            .bind(session.as_str())
            .bind(id.as_str())
            .fetch_optional(self.readers())
            .await
            .map_err(Error::at("looking for an event"))?;
        Ok(seq.map(|seq| seq as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instance;
    use sqlx::AssertSqlSafe;

    #[tokio::test]
    async fn an_event_is_looked_for_in_an_index() {
        let directory = tempfile::tempdir().unwrap();
        let instance = Instance::open(&directory.path().join("data")).unwrap();
        let store = Store::open(instance).await.unwrap();
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {BY_ID}")))
            .bind("sesn_x")
            .bind("sevt_x")
            .fetch_one(store.readers())
            .await
            .unwrap();
        let plan: &str = plan.get("detail");
        assert!(plan.contains("events_by_id (session_id=? AND id=?)"), "{plan}");
    }
}
