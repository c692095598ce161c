//! A session's writer: one job after another, sometimes before the last is done, and a word to each call that asks.
//!
//! A message is sent once. What was answered was acknowledged; of what was cut off nobody knows whether it was heard.

use crate::random::Random;
use crate::script;
use crate::standing::Standing;
use crate::verdict::Refused;
use serde_json::{Value, json};
use stage::{Api, Failure, message};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PAUSE: Duration = Duration::from_millis(50);
/// For one job, before the next is sent all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what follows from an answer, before it is given again.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// What a writer did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Events as the server answered them.
    pub(crate) acknowledged: Vec<Value>,
    /// Texts of messages that were cut off.
    pub(crate) unanswered: Vec<String>,
    /// What the server would not take.
    pub(crate) refused: Vec<String>,
}

pub(crate) struct Writer {
    pub(crate) api: Api,
    pub(crate) session: String,
    pub(crate) number: usize,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) random: Random,
}

impl Writer {
    /// Writes until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Written {
        let mut written = Written::default();
        let mut job = 0;
        while !stop.is_cancelled() {
            let text = script::job(self.number, job);
            job += 1;
            self.send(&text, &mut written).await;
            let waited = match self.random.below(4) {
                // The next one comes while this one is worked on.
                0 => self.random.between(Duration::ZERO, Duration::from_millis(500)),
                _ => PATIENCE,
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.done() => {}
                () = tokio::time::sleep(waited) => {}
            }
        }
        written
    }

    /// A message, once; it is repeated only where the server says that it did nothing.
    async fn send(&self, text: &str, written: &mut Written) {
        loop {
            match self.api.send(&self.session, &[message(text)]).await {
                Ok(events) => return written.acknowledged.extend(events),
                Err(error) if is_for_now(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) if error.status().is_some() => {
                    written.refused.push(format!("{text}: {}", error.in_full()));
                    return tokio::time::sleep(PAUSE).await;
                }
                Err(_) => {
                    written.unanswered.push(text.to_owned());
                    return tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Until a reader has seen it work and be idle again.
    async fn done(&self) {
        let mut standing = self.standing.clone();
        // Its sender lives as long as the reader.
        standing.wait_for(|standing| !standing.idle).await.ok();
        standing.wait_for(|standing| standing.idle).await.ok();
    }
}

/// The server said that it did nothing, and that this is not for good.
fn is_for_now(error: &Failure) -> bool {
    matches!(error.status(), Some(429 | 503))
}

/// What was given as the user's word, and what the server would not take of it.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) acknowledged: Vec<Value>,
    pub(crate) refused: Vec<Refused>,
}

/// Allows whatever asks, until it is stopped. An answer that was heard may be cut off and given again, which is refused.
pub(crate) async fn allow(
    api: Api,
    session: String,
    mut standing: watch::Receiver<Standing>,
    stop: CancellationToken,
) -> Allowed {
    let mut allowed = Allowed::default();
    loop {
        let asks = tokio::select! {
            () = stop.cancelled() => return allowed,
            asked = standing.wait_for(|standing| !standing.asks.is_empty()) => match asked {
                Ok(standing) => standing.asks.clone(),
                Err(_) => return allowed,
            },
        };
        let answers: Vec<Value> = asks
            .iter()
            .map(|call| json!({"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"}))
            .collect();
        match api.send(&session, &answers).await {
            Ok(events) => allowed.acknowledged.extend(events),
            Err(error) => match error.status() {
                Some(status) if !is_for_now(&error) => allowed.refused.push(Refused {
                    calls: asks.clone(),
                    status,
                    said: error.in_full(),
                }),
                _ => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        }
        tokio::select! {
            () = stop.cancelled() => return allowed,
            _ = standing.wait_for(|standing| standing.asks != asks) => {}
            () = tokio::time::sleep(ASKED_AGAIN) => {}
        }
    }
}
