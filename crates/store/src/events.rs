//! The event log: per session, numbered from 1 without gaps.

use crate::moment::from_micros;
use crate::{Error, LoggedEvent, Store};
use domain::{EventId, SessionId};
use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};
use wire::Event;

/// What one answer may hold before it is cut, at least one event.
pub(crate) const PAGE_BYTES: usize = 2 << 20;

/// Which part of a log is wanted.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// Only events with a greater number.
    pub after: u64,
    pub limit: u32,
    /// Only these types; all if empty.
    pub types: &'a [String],
}

impl Store {
    /// Events in the order of the log. The answer may be shorter than the limit; only an empty one is the end.
    pub async fn events(&self, session: &SessionId, query: Query<'_>) -> Result<Vec<LoggedEvent>, Error> {
        self.events_within(session, query, PAGE_BYTES).await
    }

    /// The same, with at most so many bytes of them together, or one event.
    pub async fn events_within(
        &self,
        session: &SessionId,
        query: Query<'_>,
        most_bytes: usize,
    ) -> Result<Vec<LoggedEvent>, Error> {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT seq, id, body, created_at, processed_at FROM events WHERE session_id = ",
        );
        sql.push_bind(session.as_str())
            .push(" AND seq > ")
            .push_bind(query.after as i64);
        if !query.types.is_empty() {
            sql.push(" AND type IN (");
            let mut list = sql.separated(", ");
            for kind in query.types {
                list.push_bind(kind);
            }
            sql.push(")");
        }
        sql.push(" ORDER BY seq LIMIT ").push_bind(i64::from(query.limit));
        let mut rows = sql.build().fetch(self.readers());
        let mut bytes = 0;
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(Error::at("reading events"))? {
            bytes += row.get::<&str, _>("body").len();
            if bytes > most_bytes && !found.is_empty() {
                break;
            }
            found.push(logged_event(session, &row)?);
        }
        Ok(found)
    }

    /// Events of the user that wait to be acted on, the oldest first.
    pub async fn queued_events(&self, session: &SessionId) -> Result<Vec<LoggedEvent>, Error> {
        let rows = sqlx::query(
            "SELECT seq, id, body, created_at, processed_at FROM events \
             WHERE session_id = $1 AND processed_at IS NULL ORDER BY seq",
        )
        .bind(session.as_str())
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("reading queued events"))?;
        rows.iter().map(|row| logged_event(session, row)).collect()
    }

    /// The numbers of these.
    pub async fn queued(&self, session: &SessionId) -> Result<Vec<u64>, Error> {
        let numbers: Vec<i64> = sqlx::query_scalar(
            "SELECT seq FROM events WHERE session_id = $1 AND processed_at IS NULL ORDER BY seq",
        )
        .bind(session.as_str())
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("reading what waits"))?;
        Ok(numbers.into_iter().map(|seq| seq as u64).collect())
    }

    /// A message, and what its operator added to it.
    pub async fn message(
        &self,
        session: &SessionId,
        id: &EventId,
    ) -> Result<(Option<LoggedEvent>, Option<LoggedEvent>), Error> {
        let row = sqlx::query(
            "SELECT seq, id, body, created_at, processed_at FROM events \
             WHERE session_id = $1 AND type = 'user.message' AND id = $2",
        )
        .bind(session.as_str())
        .bind(id.as_str())
        .fetch_optional(self.readers())
        .await
        .map_err(Error::at("reading a message"))?;
        let message = row.map(|row| logged_event(session, &row)).transpose()?;
        let Some(after) = message.as_ref().map(|message| message.seq) else {
            return Ok((None, None));
        };
        let query = Query {
            after,
            limit: 1,
            types: &[],
        };
        let next = self.events(session, query).await?.pop();
        let added = next.filter(|next| matches!(next.event.body, wire::Body::SystemMessage { .. }));
        Ok((message, added))
    }

    /// The last event of a type.
    pub async fn last_event(&self, session: &SessionId, kind: &str) -> Result<Option<LoggedEvent>, Error> {
        let row = sqlx::query(
            "SELECT seq, id, body, created_at, processed_at FROM events \
             WHERE session_id = $1 AND type = $2 ORDER BY seq DESC LIMIT 1",
        )
        .bind(session.as_str())
        .bind(kind)
        .fetch_optional(self.readers())
        .await
        .map_err(Error::at("reading the last event"))?;
        row.map(|row| logged_event(session, &row)).transpose()
    }

    /// How many events of a type there are.
    pub async fn event_count(&self, session: &SessionId, kind: &str) -> Result<u64, Error> {
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM events WHERE session_id = $1 AND type = $2")
                .bind(session.as_str())
                .bind(kind)
                .fetch_one(self.readers())
                .await
                .map_err(Error::at("counting events"))?;
        Ok(count as u64)
    }

    /// The last accepted output line of a process; 0 if there is none.
    pub async fn last_line(&self, session: &SessionId, process: &str) -> Result<u64, Error> {
        let last: Option<i64> =
            sqlx::query_scalar("SELECT last_line FROM runtime_lines WHERE session_id = $1 AND process = $2")
                .bind(session.as_str())
                .bind(process)
                .fetch_optional(self.readers())
                .await
                .map_err(Error::at("reading the last line"))?;
        Ok(last.unwrap_or(0) as u64)
    }

    /// How many processes the session has had.
    pub async fn process_count(&self, session: &SessionId) -> Result<u64, Error> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runtime_lines WHERE session_id = $1")
            .bind(session.as_str())
            .fetch_one(self.readers())
            .await
            .map_err(Error::at("counting processes"))?;
        Ok(count as u64)
    }
}

pub(crate) fn logged_event(session: &SessionId, row: &SqliteRow) -> Result<LoggedEvent, Error> {
    let seq = row.get::<i64, _>("seq");
    let corrupt = |reason: String| Error::Corrupt {
        what: format!("event {seq} of session {session}"),
        reason,
    };
    let id: &str = row.get("id");
    let body: &str = row.get("body");
    let event = Event {
        id: id
            .parse()
            .map_err(|error: domain::IdError| corrupt(error.to_string()))?,
        processed_at: row.get::<Option<i64>, _>("processed_at").map(from_micros),
        body: serde_json::from_str(body).map_err(|error| corrupt(error.to_string()))?,
    };
    Ok(LoggedEvent {
        seq: seq as u64,
        created_at: from_micros(row.get("created_at")),
        event,
    })
}
