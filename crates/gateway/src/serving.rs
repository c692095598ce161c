//! The serving of one session: accepts its connections, and ends with everything it started.

use crate::connection;
use crate::gateway::Shared;
use crate::session::Session;
use domain::{Cost, Usage};
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// After the machine refused a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A session that is being served. Dropped, it ends at once; calls that were running are closed as stopped.
pub struct Serving {
    session: Arc<Session>,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

pub(crate) fn start(shared: Arc<Shared>, session: Arc<Session>, listener: TcpListener) -> Serving {
    let accepting = tokio::spawn(accept(Arc::clone(&shared), Arc::clone(&session), listener));
    Serving {
        session,
        shared,
        accepting: Some(accepting),
    }
}

impl Serving {
    /// By the whole session, calls that are still running included.
    pub fn spent(&self) -> Cost {
        self.session.spent().cost
    }

    /// The session's hard limit, from the next call on.
    pub fn set_budget(&self, budget: Option<Cost>) {
        self.session.set_budget(budget);
    }

    /// Since when somebody waits for the first call.
    pub fn wait_since(&self, since: Instant) {
        self.session.wait_since(since);
    }

    /// Whether the model API may search the web for the session, from the next call on.
    pub fn set_web_search(&self, allowed: bool) {
        self.session.set_web_search(allowed);
    }

    /// Since this serving began, calls that are still running included.
    pub fn usage(&self) -> Usage {
        self.session.spent().usage
    }

    /// Takes nothing new, lets running calls end for a moment, then stops them. Returns when each is in the ledger.
    pub async fn stop(mut self) {
        let limits = &self.shared.config.limits;
        self.session.closing.cancel();
        self.session.tasks.close();
        if tokio::time::timeout(limits.drain, self.session.tasks.wait())
            .await
            .is_err()
        {
            self.session.stop.cancel();
            if tokio::time::timeout(2 * limits.ledger_deadline, self.session.tasks.wait())
                .await
                .is_err()
            {
                tracing::error!(session = %self.session.id, "calls are not in the ledger, it does not answer");
            }
        }
        if let Some(mut accepting) = self.accepting.take()
            && tokio::time::timeout(limits.drain, &mut accepting).await.is_err()
        {
            accepting.abort();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.session.closing.cancel();
        self.session.tasks.close();
        self.session.stop.cancel();
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

/// Owns the tasks of all connections.
async fn accept(shared: Arc<Shared>, session: Arc<Session>, listener: TcpListener) {
    let most = shared.config.limits.connections;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = session.closing.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < most => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(Arc::clone(&shared), Arc::clone(&session), stream));
                }
                Err(error) => {
                    tracing::warn!(session = %session.id, %error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
