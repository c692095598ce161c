//! Appends to the event log: all or nothing, and refused if their epoch is over.
//!
//! Events that came from lines of a runtime's output are stored once: the number of the last accepted line is kept with
//! them, in the same commit.

use crate::moment::{from_micros, now, to_micros};
use crate::sandboxes::{self, SandboxChange};
use crate::sessions::{self, NewSession, Session};
use crate::{Error, LoggedEvent, Store};
use domain::{SessionId, SessionStatus};
use serde_json::Value;
use sqlx::{AssertSqlSafe, SqliteConnection};
use std::fmt::Write as _;
use time::OffsetDateTime;
use wire::Event;

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
    let Standing { mut seq, accepted } = standing(connection, &append).await?;
    for change in &append.sandbox {
        sandboxes::apply(connection, &append.session, change).await?;
    }
    if let Some(process) = &append.process {
        begin_process(connection, &append.session, process).await?;
    }
    let created_at = now();
    let mut events = Vec::with_capacity(append.events.len());
    let mut rows = Vec::with_capacity(append.events.len());
    for (new, columns) in append.events.into_iter().zip(encoded) {
        if new.line.is_some_and(|line| line <= accepted) {
            continue;
        }
        seq += 1;
        rows.push((seq, columns));
        events.push(LoggedEvent {
            seq,
            created_at,
            event: new.event,
        });
    }
    for queued in append.processed {
        mark_processed(connection, &append.session, queued, created_at).await?;
    }
    if let Some(changed) = append.settings {
        change_settings(connection, &append.session, *changed).await?;
    }
    let advance = Advance {
        session: &append.session,
        seq,
        at: created_at,
        status: append.status,
        turn: append.turn,
        archives: append.archives,
        lines: append.lines.filter(|lines| lines.last > accepted),
    };
    loop {
        let later = rows.split_off(rows.len().min(AT_ONCE));
        advance.write(connection, rows).await?;
        if later.is_empty() {
            return Ok(Appended { events });
        }
        rows = later;
    }
}

/// How far a session and its log come.
struct Advance<'a> {
    session: &'a SessionId,
    seq: u64,
    at: OffsetDateTime,
    status: Option<SessionStatus>,
    turn: TurnChange,
    archives: bool,
    lines: Option<Lines>,
}

impl Advance<'_> {
    /// With numbered events. All in one visit to the database's thread, which takes longer than what is done there.
    async fn write(
        &self,
        connection: &mut SqliteConnection,
        events: Vec<(u64, Encoded)>,
    ) -> Result<(), Error> {
        let mut sql = UPDATE_SESSION.to_owned();
        if self.lines.is_some() {
            sql.push_str(ACCEPT_LINES);
        }
        push_inserts(&mut sql, events.len());
        let (turn_changes, turn) = match &self.turn {
            TurnChange::Same => (false, None),
            TurnChange::Keep(json) => (true, Some(json.as_str())),
            TurnChange::Over => (true, None),
        };
        let statements = sqlx::query(AssertSqlSafe(sql)).persistent(events.len() <= FEW);
        let mut statements = statements
            .bind(self.session.as_str())
            .bind(self.seq as i64)
            .bind(to_micros(self.at))
            .bind(self.status.map(SessionStatus::as_str))
            .bind(turn_changes)
            .bind(turn)
            .bind(self.archives)
            .bind(self.lines.as_ref().map(|lines| lines.process.as_str()))
            .bind(self.lines.as_ref().map(|lines| lines.last as i64));
        for (seq, event) in events {
            statements = statements
                .bind(seq as i64)
                .bind(event.id)
                .bind(event.kind)
                .bind(event.body)
                .bind(event.processed_at);
        }
        let written = statements.execute(connection).await;
        written.map_err(Error::at("appending events")).map(|_| ())
    }
}

async fn mark_processed(
    connection: &mut SqliteConnection,
    session: &SessionId,
    queued: u64,
    at: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE events SET processed_at = $3 WHERE session_id = $1 AND seq = $2 AND processed_at IS NULL",
    )
    .bind(session.as_str())
    .bind(queued as i64)
    .bind(to_micros(at))
    .execute(connection)
    .await
    .map_err(Error::at("marking a queued event"))
    .map(|_| ())
}

async fn change_settings(
    connection: &mut SqliteConnection,
    session: &SessionId,
    changed: ChangedSettings,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE sessions SET title = $2, settings = $3, resource = COALESCE($4, resource) WHERE id = $1",
    )
    .bind(session.as_str())
    .bind(changed.title)
    .bind(changed.settings.to_string())
    .bind(changed.resource.map(|resource| resource.to_string()))
    .execute(connection)
    .await
    .map_err(Error::at("changing a session"))
    .map(|_| ())
}

const UPDATE_SESSION: &str = "UPDATE sessions SET last_seq = $2, updated_at = $3, status = COALESCE($4, status), \
    turn = CASE WHEN $5 THEN $6 ELSE turn END, \
    archived_at = CASE WHEN $7 THEN COALESCE(archived_at, $3) ELSE archived_at END WHERE id = $1;";
const ACCEPT_LINES: &str = "INSERT INTO runtime_lines (session_id, process, last_line) VALUES ($1, $8, $9) \
    ON CONFLICT (session_id, process) DO UPDATE SET last_line = excluded.last_line;";
/// The values before those of the first event.
const COMMON_VALUES: usize = 9;
const EVENT_VALUES: usize = 5;
/// Events that are inserted together: a statement has a greatest length.
const AT_ONCE: usize = 256;
/// Events that are inserted with a statement that is kept for the next time.
const FEW: usize = 16;

fn push_inserts(sql: &mut String, events: usize) {
    for event in 0..events {
        let first = COMMON_VALUES + EVENT_VALUES * event + 1;
        // A string takes everything that is written to it.
        let _ = write!(
            sql,
            "INSERT INTO events (session_id, seq, id, type, body, created_at, processed_at) \
             VALUES ($1, ${first}, ${}, ${}, ${}, $3, ${});",
            first + 1,
            first + 2,
            first + 3,
            first + 4,
        );
    }
}

/// Where a session's log and the lines of a process end.
struct Standing {
    seq: u64,
    /// The last line that was accepted.
    accepted: u64,
}

/// The same, if the append may be made.
async fn standing(connection: &mut SqliteConnection, append: &Append) -> Result<Standing, Error> {
    let Append { session, lines, .. } = append;
    let found: Option<(i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT epoch, last_seq, \
         (SELECT last_line FROM runtime_lines WHERE session_id = $1 AND process = $2) \
         FROM sessions WHERE id = $1",
    )
    .bind(session.as_str())
    .bind(lines.as_ref().map(|lines| lines.process.as_str()))
    .fetch_optional(connection)
    .await
    .map_err(Error::at("checking an append"))?;
    let Some((present, seq, accepted)) = found else {
        let session = session.clone();
        return Err(Error::NoSession { session });
    };
    if present as u64 != append.epoch {
        let (session, epoch) = (session.clone(), append.epoch);
        return Err(Error::Fenced { session, epoch });
    }
    let accepted = accepted.unwrap_or(0) as u64;
    match lines {
        Some(lines) if lines.first > accepted + 1 => Err(Error::LineGap {
            session: session.clone(),
            process: lines.process.clone(),
            expected: accepted + 1,
            got: lines.first,
        }),
        _ => Ok(Standing {
            seq: seq as u64,
            accepted,
        }),
    }
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
