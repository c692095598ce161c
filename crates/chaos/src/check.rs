//! Waits until a session has nothing to do any more, and gathers what is known of it.

use crate::lines;
use crate::standing::Standing;
use serde_json::Value;
use stage::{Api, Failure};
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Longer than everything that is left to do after the last kill: a turn may be started again with a pause.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(200);

/// A session's log and its lines, when it is idle and its reader has seen all of it.
pub(crate) async fn gather(
    api: &Api,
    session: &str,
    mut reader: watch::Receiver<Standing>,
) -> Result<(Vec<Value>, Vec<String>), Failure> {
    settled(api, session).await?;
    let lines = lines::read(api, session).await?;
    let log = settled(api, session).await?;
    let last = log
        .last()
        .and_then(|event| event["id"].as_str())
        .map(str::to_owned);
    let seen = reader.wait_for(|standing| standing.last == last);
    // What it has not seen by then is told when logs are compared.
    tokio::time::timeout(PATIENCE, seen).await.ok();
    Ok((log, lines))
}

/// The log of a session that is idle, with nothing that waits.
pub(crate) async fn settled(api: &Api, session: &str) -> Result<Vec<Value>, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = calm(|| api.status(session)).await?;
        if status == "idle" {
            let log = calm(|| api.events(session)).await?;
            let waits = log
                .iter()
                .any(|event| event["type"] == "user.message" && event["processed_at"].is_null());
            if Standing::of(&log).idle && !waits {
                return Ok(log);
            }
        }
        if Instant::now() > end {
            return Err(Failure::Late {
                what: format!("{session} is idle with nothing that waits (it is {status})"),
                seconds: PATIENCE.as_secs(),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks again where the server is only asked too often.
pub(crate) async fn calm<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if error.status() == Some(429) && Instant::now() < end => {
                tokio::time::sleep(PAUSE).await;
            }
            asked => return asked,
        }
    }
}
