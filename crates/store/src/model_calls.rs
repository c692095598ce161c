//! The ledger of model calls. A call is in it before the upstream is asked, so that every request that an upstream has
//! seen is here: completed, failed, or marked as cut.

use crate::moment::{from_micros, now, to_micros};
use crate::{Error, Store};
use domain::{Cost, SessionId, Usage};
use sqlx::{Row, SqliteConnection};
use std::time::Duration;
use time::OffsetDateTime;

/// A call's number in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub i64);

/// A call that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCall {
    pub session: SessionId,
    /// As the request names it.
    pub model: String,
    pub stream: bool,
    pub request_bytes: u64,
    pub started_at: OffsetDateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    /// The upstream answered with an error.
    Refused,
    CutByUpstream,
    CutByClient,
    /// No answer at all.
    Unreachable,
    /// The session was stopped.
    Stopped,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::CutByUpstream => "cut_by_upstream",
            Self::CutByClient => "cut_by_client",
            Self::Unreachable => "unreachable",
            Self::Stopped => "stopped",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub outcome: Outcome,
    /// The upstream's HTTP status, if it answered.
    pub status: Option<u16>,
    /// As the upstream names it; the request's name if nothing.
    pub model: Option<String>,
    /// As far as it is known.
    pub usage: Usage,
    /// The use was counted from what passed, because the end was not seen.
    pub estimated: bool,
    /// Missing where the model has no list price.
    pub cost: Option<Cost>,
    pub attempts: u32,
    /// The upstream's.
    pub request_id: Option<String>,
    pub first_byte: Option<Duration>,
    pub duration: Duration,
}

/// A call as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCall {
    pub id: CallId,
    /// `open`, `cut` with the instance that made it, or as it was closed.
    pub outcome: String,
    pub request_bytes: u64,
    /// The upstream's, if its answer began.
    pub request_id: Option<String>,
    pub opened_at: OffsetDateTime,
}

/// What the calls of a session add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub usage: Usage,
    /// Of the calls that have a price.
    pub cost: Cost,
    /// Calls that used tokens and have no price: `cost` is then less than the truth.
    pub unpriced: u64,
    pub calls: u64,
    pub open: u64,
}

impl Sums {
    /// The whole cost; nothing where a part of it is unknown.
    pub fn list_cost(&self) -> Option<Cost> {
        (self.unpriced == 0).then_some(self.cost)
    }
}

impl Store {
    /// Records a call before it is made.
    pub async fn open_model_call(&self, call: NewCall) -> Result<CallId, Error> {
        let instance = self.instance().id().to_string();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query_scalar(
                    "INSERT INTO model_calls \
                     (session_id, instance_id, model, outcome, streamed, request_bytes, opened_at) \
                     VALUES ($1, $2, $3, 'open', $4, $5, $6) RETURNING id",
                )
                .bind(call.session.as_str())
                .bind(instance)
                .bind(call.model)
                .bind(i64::from(call.stream))
                .bind(number(call.request_bytes))
                .bind(to_micros(call.started_at))
                .fetch_one(connection)
                .await
                .map_err(Error::at("opening a model call"))
                .map(CallId)
            })
        })
        .await
    }

    /// Closes an open call; one that is closed already stays as it is.
    pub async fn close_model_call(&self, call: CallId, closed: Closed) -> Result<(), Error> {
        self.write(move |connection| Box::pin(close(connection, call, closed)))
            .await?;
        self.inner.calls_closed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Marks the open calls of other instances as cut; answers how many. Called by the holder of the lock, so those
    /// instances are dead.
    pub async fn cut_calls_of_dead_instances(&self) -> Result<u64, Error> {
        let instance = self.instance().id().to_string();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE model_calls SET outcome = 'cut', closed_at = $2 \
                     WHERE outcome = 'open' AND instance_id <> $1",
                )
                .bind(instance)
                .bind(to_micros(now()))
                .execute(connection)
                .await
                .map_err(Error::at("cutting model calls"))
                .map(|done| done.rows_affected())
            })
        })
        .await
    }

    /// Every call of a session, the oldest first.
    pub async fn model_calls(&self, session: &SessionId) -> Result<Vec<RecordedCall>, Error> {
        let rows = sqlx::query(
            "SELECT id, outcome, request_bytes, request_id, opened_at FROM model_calls \
             WHERE session_id = $1 ORDER BY id",
        )
        .bind(session.as_str())
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("reading model calls"))?;
        let call = |row: &sqlx::sqlite::SqliteRow| RecordedCall {
            id: CallId(row.get("id")),
            outcome: row.get("outcome"),
            request_bytes: row.get::<i64, _>("request_bytes") as u64,
            request_id: row.get("request_id"),
            opened_at: from_micros(row.get("opened_at")),
        };
        Ok(rows.iter().map(call).collect())
    }

    pub async fn model_call_sums(&self, session: &SessionId) -> Result<Sums, Error> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT) AS input, \
             CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT) AS output, \
             CAST(COALESCE(SUM(cache_read_input_tokens), 0) AS BIGINT) AS cache_read, \
             CAST(COALESCE(SUM(cache_creation_5m_input_tokens), 0) AS BIGINT) AS cache_5m, \
             CAST(COALESCE(SUM(cache_creation_1h_input_tokens), 0) AS BIGINT) AS cache_1h, \
             CAST(COALESCE(SUM(web_search_requests), 0) AS BIGINT) AS searches, \
             CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT) AS cost, \
             CAST(COALESCE(SUM(CASE WHEN cost_nano_usd IS NULL AND input_tokens + output_tokens \
                 + cache_read_input_tokens > 0 THEN 1 ELSE 0 END), 0) AS BIGINT) AS unpriced, \
             COUNT(*) AS calls, \
             CAST(COALESCE(SUM(CASE WHEN outcome = 'open' THEN 1 ELSE 0 END), 0) AS BIGINT) AS open \
             FROM model_calls WHERE session_id = $1",
        )
        .bind(session.as_str())
        .fetch_one(self.readers())
        .await
        .map_err(Error::at("adding up model calls"))?;
        let sum = |column: &str| row.get::<i64, _>(column) as u64;
        Ok(Sums {
            usage: Usage {
                input_tokens: sum("input"),
                output_tokens: sum("output"),
                cache_read_input_tokens: sum("cache_read"),
                cache_creation_5m_input_tokens: sum("cache_5m"),
                cache_creation_1h_input_tokens: sum("cache_1h"),
                web_search_requests: sum("searches"),
            },
            cost: Cost::from_nano_usd(sum("cost")),
            unpriced: sum("unpriced"),
            calls: sum("calls"),
            open: sum("open"),
        })
    }

    /// The sums when no call of the session is open any more, or as they are after `patience`. A runtime can end its
    /// turn before the gateway has closed the call that the turn ended with.
    pub async fn settled_model_calls(&self, session: &SessionId, patience: Duration) -> Result<Sums, Error> {
        let mut closed = self.inner.calls_closed.subscribe();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            closed.mark_unchanged();
            let sums = self.model_call_sums(session).await?;
            if sums.open == 0 || tokio::time::timeout_at(deadline, closed.changed()).await.is_err() {
                return Ok(sums);
            }
        }
    }
}

async fn close(connection: &mut SqliteConnection, call: CallId, closed: Closed) -> Result<(), Error> {
    let usage = closed.usage;
    sqlx::query(
        "UPDATE model_calls SET outcome = $2, status = $3, model = COALESCE($4, model), input_tokens = $5, \
         output_tokens = $6, cache_read_input_tokens = $7, cache_creation_5m_input_tokens = $8, \
         cache_creation_1h_input_tokens = $9, web_search_requests = $10, estimated = $11, cost_nano_usd = $12, \
         attempts = $13, request_id = $14, first_byte_micros = $15, duration_micros = $16, closed_at = $17 \
         WHERE id = $1 AND outcome = 'open'",
    )
    .bind(call.0)
    .bind(closed.outcome.as_str())
    .bind(closed.status.map(i64::from))
    .bind(closed.model)
    .bind(number(usage.input_tokens))
    .bind(number(usage.output_tokens))
    .bind(number(usage.cache_read_input_tokens))
    .bind(number(usage.cache_creation_5m_input_tokens))
    .bind(number(usage.cache_creation_1h_input_tokens))
    .bind(number(usage.web_search_requests))
    .bind(i64::from(closed.estimated))
    .bind(closed.cost.map(|cost| number(cost.nano_usd)))
    .bind(i64::from(closed.attempts))
    .bind(closed.request_id)
    .bind(closed.first_byte.map(micros))
    .bind(micros(closed.duration))
    .bind(to_micros(now()))
    .execute(connection)
    .await
    .map_err(Error::at("closing a model call"))
    .map(|_| ())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The database has signed numbers; counts come from outside.
fn number(count: u64) -> i64 {
    // A thousandth of the range each, so that sums stay in it.
    i64::try_from(count).unwrap_or(i64::MAX).min(i64::MAX / 1000)
}
