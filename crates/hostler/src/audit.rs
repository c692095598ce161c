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
use tokio::sync::mpsc;
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

/// The task that writes. Waiting for it after every [`StoreAudit`] is gone waits for the last decision.
pub(crate) struct AuditWriter {
    task: JoinHandle<()>,
}

impl StoreAudit {
    pub(crate) fn start(store: Store, meter: EgressMeter) -> (Self, AuditWriter) {
        let (queue, entries) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(write(store, entries, Arc::clone(&dropped)));
        let audit = Self {
            queue,
            dropped,
            meter,
        };
        (audit, AuditWriter { task })
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
    pub(crate) async fn finish(self) {
        match tokio::time::timeout(PATIENCE, self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the audit writer failed"),
            Err(_) => tracing::warn!("egress is still being served; its last decisions are not written down"),
        }
    }
}

async fn write(store: Store, mut entries: mpsc::Receiver<AuditEntry>, dropped: Arc<AtomicU64>) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.recv_many(&mut batch, BATCH).await > 0 {
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
