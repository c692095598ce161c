//! The event log: per session, numbered from 1 without gaps.
//!
//! An append is all or nothing. It is refused if its epoch is over. Events that came from lines of a runtime's output
//! are stored once: the number of the last accepted line is kept with them, in the same commit.

use crate::moment::{from_micros, now, to_micros};
use crate::sandboxes::{self, SandboxChange};
use crate::sessions::{self, NewSession, Session, check_epoch};
use crate::{Error, LoggedEvent, Store};
use domain::{EventId, SessionId, SessionStatus};
use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use wire::Event;

/// What one answer may hold before it is cut, at least one event.
pub(crate) const PAGE_BYTES: usize = 2 << 20;

#[derive(Debug, Clone)]
pub struct Append {
    pub session: SessionId,
    pub epoch: u64,
    pub events: Vec<NewEvent>,
    /// The lines that `events` came from, also those that brought none.
    pub lines: Option<Lines>,
    /// The session's new status.
    pub status: Option<SessionStatus>,
    /// Numbers of queued events that are acted on from now.
    pub processed: Vec<u64>,
    /// The session itself, if this is its first append and it is not stored yet.
    pub create: Option<Box<NewSession>>,
    pub sandbox: Vec<SandboxChange>,
    /// A process that is about to be started; its name must be new in the session.
    pub process: Option<String>,
    pub turn: TurnChange,
    pub settings: Option<Box<ChangedSettings>>,
    /// The session is archived, for good.
    pub archives: bool,
}

/// A session's own settings, as they are from now.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedSettings {
    pub title: Option<String>,
    pub settings: Value,
    pub resource: Option<Value>,
}

/// What becomes of what is kept of the present turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TurnChange {
    #[default]
    Same,
    /// As JSON, for the session's owners alone.
    Keep(String),
    Over,
}

impl Append {
    pub fn new(session: SessionId, epoch: u64, events: impl IntoIterator<Item = Event>) -> Self {
        let events = events
            .into_iter()
            .map(|event| NewEvent { event, line: None })
            .collect();
        Self {
            events,
            ..Self::nothing(session, epoch)
        }
    }

    fn nothing(session: SessionId, epoch: u64) -> Self {
        Self {
            session,
            epoch,
            events: Vec::new(),
            lines: None,
            status: None,
            processed: Vec::new(),
            create: None,
            sandbox: Vec::new(),
            process: None,
            turn: TurnChange::Same,
            settings: None,
            archives: false,
        }
    }
}

#[derive(Debug, Clone)]
pub struct NewEvent {
    pub event: Event,
    /// The line it came from. One that was accepted before is not stored again.
    pub line: Option<u64>,
}

/// Output lines `first` to `last` of one process.
#[derive(Debug, Clone)]
pub struct Lines {
    pub process: String,
    pub first: u64,
    pub last: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Appended {
    /// What was stored: without events of lines that were accepted before.
    pub events: Vec<LoggedEvent>,
}

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
    /// What is answered is what will be read: the database keeps microseconds, and so does the answer.
    pub async fn append(&self, mut append: Append) -> Result<Appended, Error> {
        for new in &mut append.events {
            let moment = &mut new.event.processed_at;
            *moment = moment.map(|moment| from_micros(to_micros(moment)));
        }
        let encoded = encode_all(append.events.iter().map(|new| &new.event))?;
        let instance = self.instance().id().to_string();
        self.write(move |connection| {
            Box::pin(async move {
                if let Some(new) = &append.create {
                    sessions::insert(connection, &Session::new(new, now()), &instance).await?;
                }
                insert_all(connection, append, encoded).await
            })
        })
        .await
    }

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

/// An event's columns, made before the writer is asked.
struct Encoded {
    id: String,
    kind: String,
    body: String,
    processed_at: Option<i64>,
}

fn encode_all<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Vec<Encoded>, Error> {
    events
        .into_iter()
        .map(|event| {
            Ok(Encoded {
                id: event.id.to_string(),
                kind: event.body.kind().to_owned(),
                body: crate::sessions::json(&event.body, "an event")?,
                processed_at: event.processed_at.map(to_micros),
            })
        })
        .collect()
}

async fn insert_all(
    connection: &mut SqliteConnection,
    append: Append,
    encoded: Vec<Encoded>,
) -> Result<Appended, Error> {
    let mut seq = check_epoch(connection, &append.session, append.epoch).await?;
    for change in &append.sandbox {
        sandboxes::apply(connection, &append.session, change).await?;
    }
    if let Some(process) = &append.process {
        begin_process(connection, &append.session, process).await?;
    }
    let accepted = match &append.lines {
        Some(lines) => advance(connection, &append.session, lines).await?,
        None => 0,
    };
    let created_at = now();
    let micros = to_micros(created_at);
    let mut events = Vec::with_capacity(append.events.len());
    for (new, columns) in append.events.into_iter().zip(&encoded) {
        if new.line.is_some_and(|line| line <= accepted) {
            continue;
        }
        seq += 1;
        insert(connection, &append.session, seq, columns, micros).await?;
        events.push(LoggedEvent {
            seq,
            created_at,
            event: new.event,
        });
    }
    for queued in append.processed {
        sqlx::query(
            "UPDATE events SET processed_at = $3 WHERE session_id = $1 AND seq = $2 AND processed_at IS NULL",
        )
        .bind(append.session.as_str())
        .bind(queued as i64)
        .bind(micros)
        .execute(&mut *connection)
        .await
        .map_err(Error::at("marking a queued event"))?;
    }
    if let Some(changed) = append.settings {
        sqlx::query(
            "UPDATE sessions SET title = $2, settings = $3, resource = COALESCE($4, resource) WHERE id = $1",
        )
        .bind(append.session.as_str())
        .bind(changed.title)
        .bind(changed.settings.to_string())
        .bind(changed.resource.map(|resource| resource.to_string()))
        .execute(&mut *connection)
        .await
        .map_err(Error::at("changing a session"))?;
    }
    let (turn_changes, turn) = match append.turn {
        TurnChange::Same => (false, None),
        TurnChange::Keep(json) => (true, Some(json)),
        TurnChange::Over => (true, None),
    };
    sqlx::query(
        "UPDATE sessions SET last_seq = $2, updated_at = $3, status = COALESCE($4, status), \
         turn = CASE WHEN $5 THEN $6 ELSE turn END, \
         archived_at = CASE WHEN $7 THEN COALESCE(archived_at, $3) ELSE archived_at END WHERE id = $1",
    )
    .bind(append.session.as_str())
    .bind(seq as i64)
    .bind(micros)
    .bind(append.status.map(SessionStatus::as_str))
    .bind(turn_changes)
    .bind(turn)
    .bind(append.archives)
    .execute(&mut *connection)
    .await
    .map_err(Error::at("updating a session"))?;
    Ok(Appended { events })
}

async fn begin_process(
    connection: &mut SqliteConnection,
    session: &SessionId,
    process: &str,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO runtime_lines (session_id, process, last_line) VALUES ($1, $2, 0)")
        .bind(session.as_str())
        .bind(process)
        .execute(connection)
        .await
        .map_err(Error::at("recording a process"))
        .map(|_| ())
}

/// Accepts lines; answers the last one that was accepted before.
async fn advance(
    connection: &mut SqliteConnection,
    session: &SessionId,
    lines: &Lines,
) -> Result<u64, Error> {
    let before: Option<i64> =
        sqlx::query_scalar("SELECT last_line FROM runtime_lines WHERE session_id = $1 AND process = $2")
            .bind(session.as_str())
            .bind(&lines.process)
            .fetch_optional(&mut *connection)
            .await
            .map_err(Error::at("reading the last line"))?;
    let before = before.unwrap_or(0) as u64;
    if lines.first > before + 1 {
        let (session, process) = (session.clone(), lines.process.clone());
        return Err(Error::LineGap {
            session,
            process,
            expected: before + 1,
            got: lines.first,
        });
    }
    if lines.last > before {
        sqlx::query(
            "INSERT INTO runtime_lines (session_id, process, last_line) VALUES ($1, $2, $3) \
             ON CONFLICT (session_id, process) DO UPDATE SET last_line = excluded.last_line",
        )
        .bind(session.as_str())
        .bind(&lines.process)
        .bind(lines.last as i64)
        .execute(connection)
        .await
        .map_err(Error::at("accepting lines"))?;
    }
    Ok(before)
}

async fn insert(
    connection: &mut SqliteConnection,
    session: &SessionId,
    seq: u64,
    event: &Encoded,
    created_at: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO events (session_id, seq, id, type, body, created_at, processed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(session.as_str())
    .bind(seq as i64)
    .bind(&event.id)
    .bind(&event.kind)
    .bind(&event.body)
    .bind(created_at)
    .bind(event.processed_at)
    .execute(connection)
    .await
    .map_err(Error::at("appending an event"))
    .map(|_| ())
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
