//! Sandboxes in which a runtime waits for its first message, made ahead of demand for agents and environments whose
//! sessions are asked for. A session that takes one begins with its first message instead of with a sandbox.
//!
//! The id of a session stands in its sandbox from the beginning, so a spare has that of the session that it is for. It is
//! recorded as nobody's before it is made, and as its session's with the first message; a start discards the rest.

mod stock;

use crate::owner::{Spare, prepare};
use crate::sessions::Parts;
use crate::settings::Lifetime;
use crate::tasks::{self, Task};
use crate::{NewSession, place, record};
use domain::SessionId;
use futures_util::future::join_all;
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stock::{Step, Stock};
use tokio::sync::Notify;
use tokio::time::Instant;

/// For the one that is being made when no more are.
const LAST: Duration = Duration::from_secs(5);

pub(crate) struct Spares {
    shared: Arc<Shared>,
    maker: Mutex<Option<Task<()>>>,
}

struct Shared {
    parts: Arc<Parts>,
    stock: Mutex<Stock<NewSession, Box<Spare>>>,
    changed: Notify,
}

impl Spares {
    pub(crate) fn start(parts: &Arc<Parts>) -> Self {
        let settings = &parts.settings;
        let most = if settings.lifetime == Lifetime::Session {
            settings.spares
        } else {
            0
        };
        let shared = Arc::new(Shared {
            parts: Arc::clone(parts),
            stock: Mutex::new(Stock::new(most)),
            changed: Notify::new(),
        });
        let stocked = Arc::clone(&shared);
        let maker = (most > 0).then(|| tasks::start("spare sandboxes", async move { stocked.run().await }));
        Self {
            shared,
            maker: Mutex::new(maker),
        }
    }

    /// One that was made for such a session, if there is one. That it was asked for is remembered.
    pub(crate) fn take(&self, new: &NewSession) -> Option<Box<Spare>> {
        if new.workspace.is_some() {
            return None;
        }
        let pattern = pattern(new);
        let key = key(&pattern)?;
        let taken = self.shared.stock().take(key, || pattern, Instant::now());
        self.shared.changed.notify_one();
        taken
    }

    pub(crate) fn ready(&self) -> usize {
        self.shared.stock().ready()
    }

    /// Discards what is there, and makes no more.
    pub(crate) async fn close(&self) {
        let left = self.shared.stock().close();
        let maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(maker) = maker {
            self.shared.changed.notify_one();
            // What it is still making then is recorded, and the next start's.
            let _ = tokio::time::timeout(LAST, maker.finished()).await;
        }
        let ended = left.into_iter().map(|spare| spare.discard(&self.shared.parts));
        for failures in join_all(ended).await {
            place::tell(&failures);
        }
    }
}

impl Shared {
    async fn run(&self) {
        loop {
            let step = self.stock().next(Instant::now());
            match step {
                Step::Make { key, pattern } => self.make(key, &pattern).await,
                Step::Discard(spare) => place::tell(&spare.discard(&self.parts).await),
                Step::Wait(Some(until)) => {
                    // Whichever comes first.
                    let _ = tokio::time::timeout_at(until, self.changed.notified()).await;
                }
                Step::Wait(None) => self.changed.notified().await,
                Step::End => return,
            }
        }
    }

    async fn make(&self, key: String, pattern: &NewSession) {
        match prepare(&self.parts, pattern.clone()).await {
            Ok(spare) => {
                let refused = self.stock().add(&key, Box::new(spare));
                if let Some(spare) = refused {
                    place::tell(&spare.discard(&self.parts).await);
                }
            }
            Err(reason) => {
                tracing::warn!(reason, "a sandbox could not be made ahead");
                self.stock().failed(&key, Instant::now());
            }
        }
    }

    fn stock(&self) -> MutexGuard<'_, Stock<NewSession, Box<Spare>>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session without what is told to the sandbox when it is taken, or never.
fn pattern(new: &NewSession) -> NewSession {
    let mut pattern = new.clone();
    pattern.title = None;
    pattern.max_cost = None;
    if let Some(hosting) = &mut pattern.hosting {
        hosting.resource = serde_json::Value::Null;
    }
    pattern
}

/// Equal for sessions that the same sandbox will do for.
fn key(pattern: &NewSession) -> Option<String> {
    // Only the rest counts.
    let row = record::row(&SessionId::random(), pattern.clone()).ok()?;
    let hosting = row.hosting.map(|hosting| {
        json!([
            hosting.workspace_id,
            hosting.agent_id,
            hosting.agent_version,
            hosting.environment_id
        ])
    });
    let parts = json!([row.model, row.limits, row.egress_rules, row.settings, hosting]);
    Some(parts.to_string())
}
