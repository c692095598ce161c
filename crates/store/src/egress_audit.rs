//! Decisions of the egress proxy and the DNS server, the last ten thousand of each session.

use crate::moment::{from_micros, to_micros};
use crate::{Error, Store};
use domain::SessionId;
use sqlx::Row;
use time::OffsetDateTime;

/// Kept for each session; the oldest go first. Their numbers tell how many went.
pub const KEPT: u64 = 10_000;
const TEXT_BYTES: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub at: OffsetDateTime,
    /// `connect`, `http`, `tls`, `dns`.
    pub protocol: String,
    /// As the agent asked for it; cut after 512 bytes.
    pub host: String,
    pub port: u16,
    pub allowed: bool,
    /// The rule that made the decision.
    pub rule: Option<String>,
    pub detail: Option<String>,
}

impl Store {
    /// Adds decisions, in their order.
    pub async fn append_decisions(&self, session: &SessionId, decisions: Vec<Decision>) -> Result<(), Error> {
        let session = session.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let last: i64 =
                    sqlx::query_scalar("SELECT COALESCE(MAX(seq), 0) FROM egress_audit WHERE session_id = $1")
                        .bind(session.as_str())
                        .fetch_one(&mut *connection)
                        .await
                        .map_err(Error::at("reading decisions"))?;
                let end = last + decisions.len() as i64;
                for (seq, decision) in (last + 1..).zip(decisions) {
                    sqlx::query(
                        "INSERT INTO egress_audit (session_id, seq, at, protocol, host, port, allowed, rule, detail) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                    )
                    .bind(session.as_str())
                    .bind(seq)
                    .bind(to_micros(decision.at))
                    .bind(cut(decision.protocol))
                    .bind(cut(decision.host))
                    .bind(i64::from(decision.port))
                    .bind(i64::from(decision.allowed))
                    .bind(decision.rule.map(cut))
                    .bind(decision.detail.map(cut))
                    .execute(&mut *connection)
                    .await
                    .map_err(Error::at("recording a decision"))?;
                }
                sqlx::query("DELETE FROM egress_audit WHERE session_id = $1 AND seq <= $2")
                    .bind(session.as_str())
                    .bind(end - KEPT as i64)
                    .execute(connection)
                    .await
                    .map_err(Error::at("trimming decisions"))
                    .map(|_| ())
            })
        })
        .await
    }

    /// Decisions with a number greater than `after`, with their numbers.
    pub async fn decisions(
        &self,
        session: &SessionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Decision)>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM egress_audit WHERE session_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        )
        .bind(session.as_str())
        .bind(after as i64)
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(Error::at("reading decisions"))?;
        let decision = |row: sqlx::sqlite::SqliteRow| {
            let decision = Decision {
                at: from_micros(row.get("at")),
                protocol: row.get("protocol"),
                host: row.get("host"),
                port: row.get::<i64, _>("port") as u16,
                allowed: row.get::<i64, _>("allowed") != 0,
                rule: row.get("rule"),
                detail: row.get("detail"),
            };
            (row.get::<i64, _>("seq") as u64, decision)
        };
        Ok(rows.into_iter().map(decision).collect())
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    text
}
