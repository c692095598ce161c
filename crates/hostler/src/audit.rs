//! Egress decisions on their way into the store.
//!
//! Decisions are made by tasks that serve traffic and may not wait, so they pass through a bounded queue to one task
//! that writes them in batches. When the store is slower than the agent is fast, decisions are dropped and counted, and
//! the count is written down in their place.

use domain::SessionId;
use egress::{Audit, AuditEntry};
use metrics::EgressMeter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::{Decision, Store};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const QUEUE: usize = 4096;
const BATCH: usize = 256;
/// For the last decisions.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct StoreAudit {
    queue: mpsc::Sender<AuditEntry>,
    dropped: Arc<AtomicU64>,
    meter: EgressMeter,
}

/// The task that writes.
pub(crate) struct AuditWriter {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl StoreAudit {
    pub(crate) fn start(store: Store, meter: EgressMeter) -> (Self, AuditWriter) {
        let (queue, entries) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(write(store, Entries { entries, ended }, Arc::clone(&dropped)));
        let audit = Self {
            queue,
            dropped,
            meter,
        };
        (audit, AuditWriter { task, end })
    }
}

impl Audit for StoreAudit {
    fn record(&self, entry: AuditEntry) {
        // The end of a connection is no decision.
        if entry.traffic.is_none() {
            self.meter.decided(entry.allowed);
        }
        if self.queue.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AuditWriter {
    /// Waits for the last decision. What is decided later is in no book, whoever still could: a server that has been taken
    /// over shows its streams for a while.
    pub(crate) async fn finish(self) {
        // It may have ended by itself.
        self.end.send(()).ok();
        match tokio::time::timeout(PATIENCE, self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the audit writer failed"),
            Err(_) => tracing::warn!("the store is slow; the last egress decisions are not written down"),
        }
    }
}

/// What is to be written down, until there is no more.
struct Entries {
    entries: mpsc::Receiver<AuditEntry>,
    ended: oneshot::Receiver<()>,
}

impl Entries {
    async fn next(&mut self, batch: &mut Vec<AuditEntry>) -> usize {
        loop {
            tokio::select! {
                biased;
                read = self.entries.recv_many(batch, BATCH) => return read,
                _ = &mut self.ended, if !self.entries.is_closed() => self.entries.close(),
            }
        }
    }
}

async fn write(store: Store, mut entries: Entries, dropped: Arc<AtomicU64>) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.next(&mut batch).await > 0 {
        let missed = dropped.swap(0, Ordering::Relaxed);
        if missed > 0 {
            tracing::warn!(
                missed,
                "egress decisions came faster than they could be written down"
            );
        }
        let mut sessions: BTreeMap<SessionId, Vec<Decision>> = BTreeMap::new();
        for entry in batch.drain(..) {
            sessions
                .entry(entry.session.clone())
                .or_default()
                .push(decision(entry));
        }
        for (session, decisions) in sessions {
            if let Err(error) = store.append_decisions(&session, decisions).await {
                tracing::warn!(%session, %error, "egress decisions were not written down");
            }
        }
    }
}

fn decision(entry: AuditEntry) -> Decision {
    let detail = match entry.traffic {
        Some(traffic) => format!(
            "{}; {} bytes up, {} down",
            entry.reason, traffic.up_bytes, traffic.down_bytes
        ),
        None => entry.reason,
    };
    Decision {
        at: entry.time,
        protocol: entry.transport.as_str().to_owned(),
        host: entry.host,
        port: entry.port,
        allowed: entry.allowed,
        rule: entry.rule,
        detail: Some(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Instance;

    #[tokio::test]
    async fn the_writer_ends_also_where_somebody_could_still_decide() {
        let directory = tempfile::tempdir().unwrap();
        let instance = Instance::open(&directory.path().join("data")).unwrap();
        let store = Store::open(instance).await.unwrap();
        let (audit, writer) = StoreAudit::start(store, metrics::Metrics::default().egress);
        writer.finish().await;
        assert!(audit.queue.is_closed());
    }
}
