//! A runtime's output, followed over broken connections. Bounded in records and in bytes: an owner that cannot store
//! makes the guest keep what comes, and the guest makes the runtime wait.

use super::{Attempts, Lifeline};
use crate::tasks::{self, Task};
use guest_protocol::{Client, ClientError, MAX_DATA_BYTES, OutputRecord, Payload};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

const RECORDS: usize = 256;
/// Two of the longest lines.
const BYTES: usize = 2 * MAX_DATA_BYTES;

/// What the owner is told.
pub(crate) enum Report {
    Record {
        record: OutputRecord,
        bytes: usize,
        /// When it came from the guest.
        received: Instant,
        /// Room for others when this is dropped.
        _room: OwnedSemaphorePermit,
    },
    /// The guest cannot be reached any more.
    Lost { reason: String },
    /// The guest breaks its protocol.
    Broken { reason: String },
}

pub(crate) struct Output {
    reports: mpsc::Receiver<Report>,
    sender: mpsc::Sender<Report>,
    _task: Task<()>,
}

/// For the other tasks of the same runtime.
pub(super) struct Reporter(mpsc::Sender<Report>);

impl Reporter {
    pub(super) async fn lost(&self, reason: String) {
        // The owner may have let go of the runtime.
        let _ = self.0.send(Report::Lost { reason }).await;
    }
}

impl Output {
    /// The records after the number `after`.
    pub(super) fn start(client: Client, process: String, after: u64, lifeline: Lifeline) -> Self {
        let (sender, reports) = mpsc::channel(RECORDS);
        let reporter = sender.clone();
        let task = tasks::start("runtime output", async move {
            if let Err(report) = follow(&client, &process, after, Attempts::new(lifeline), &reporter).await {
                let _ = reporter.send(report).await;
            }
        });
        Self {
            reports,
            sender,
            _task: task,
        }
    }

    pub(super) fn reporter(&self) -> Reporter {
        Reporter(self.sender.clone())
    }

    /// Waits for at least one report and takes those that are there. May be dropped while it waits.
    pub(crate) async fn next(&mut self, into: &mut Vec<Report>) {
        // A sender lives in `self`, so there is no end.
        self.reports.recv_many(into, RECORDS).await;
    }
}

/// Ends after the exit, or when the owner let go of the runtime.
async fn follow(
    client: &Client,
    process: &str,
    mut after: u64,
    mut attempts: Attempts,
    reports: &mpsc::Sender<Report>,
) -> Result<(), Report> {
    let room = Arc::new(Semaphore::new(BYTES));
    loop {
        // Boxed, so that a task that follows has no room for what is over.
        let error = match Box::pin(client.output(process, after, true)).await {
            Ok(mut stream) => loop {
                match stream.next().await {
                    Ok(Some(record)) => {
                        attempts.succeeded();
                        after = record.seq;
                        if pass_on(record, &room, reports).await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok(None) => return Ok(()),
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        if error.is_retryable() {
            Box::pin(attempts.failed(&error))
                .await
                .map_err(|reason| Report::Lost { reason })?;
        } else if matches!(error, ClientError::Refused { .. }) {
            return Err(Report::Lost {
                reason: error.to_string(),
            });
        } else {
            return Err(Report::Broken {
                reason: error.to_string(),
            });
        }
    }
}

/// The owner let go.
struct Gone;

async fn pass_on(
    record: OutputRecord,
    room: &Arc<Semaphore>,
    reports: &mpsc::Sender<Report>,
) -> Result<(), Gone> {
    let bytes = match &record.payload {
        Payload::Output(data) => {
            data.text.as_ref().map_or(0, String::len) + data.base64.as_ref().map_or(0, String::len)
        }
        Payload::Exit(_) => 0,
    };
    let received = Instant::now();
    let share = u32::try_from(bytes.clamp(1, BYTES)).unwrap_or(1);
    let room = room.clone().acquire_many_owned(share).await.map_err(|_| Gone)?;
    reports
        .send(Report::Record {
            record,
            bytes,
            received,
            _room: room,
        })
        .await
        .map_err(|_| Gone)
}
