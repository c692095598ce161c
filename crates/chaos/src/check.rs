//! Waits until a session has nothing to do any more, and gathers what is known of it.

use crate::lines;
use crate::standing::Standing;
use serde_json::Value;
use stage::{Api, Failure, calm};
use std::time::Duration;
use tokio::sync::watch;

/// Longer than everything that is left to do after the last kill: a turn may be started again with a pause.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(200);

/// A session as it is in the end.
pub(crate) struct Gathered {
    pub(crate) log: Vec<Value>,
    pub(crate) lines: Vec<String>,
    /// The messages that asked for the lines, as they were answered.
    pub(crate) asked: Vec<Value>,
}

/// What is known of a session, when it is idle and its reader has seen all of it.
pub(crate) async fn gather(
    api: &Api,
    session: &str,
    mut reader: watch::Receiver<Standing>,
) -> Result<Gathered, Failure> {
    settled(api, session).await?;
    let (lines, asked) = lines::read(api, session).await?;
    let log = settled(api, session).await?;
    let last = log
        .last()
        .and_then(|event| event["id"].as_str())
        .map(str::to_owned);
    let seen = reader.wait_for(|standing| standing.last == last);
    // What it has not seen by then is told when logs are compared.
    tokio::time::timeout(PATIENCE, seen).await.ok();
    Ok(Gathered { log, lines, asked })
}

/// The log of a session that is idle, with nothing that waits.
pub(crate) async fn settled(api: &Api, session: &str) -> Result<Vec<Value>, Failure> {
    let settled = async {
        loop {
            if calm(|| api.status(session)).await? == "idle" {
                let log = calm(|| api.events(session)).await?;
                let waits = log
                    .iter()
                    .any(|event| event["type"] == "user.message" && event["processed_at"].is_null());
                if Standing::of(&log).idle && !waits {
                    return Ok(log);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let late = |_| Failure::Late {
        what: format!("{session} is idle with nothing that waits"),
        seconds: PATIENCE.as_secs(),
    };
    tokio::time::timeout(PATIENCE, settled).await.map_err(late)?
}
