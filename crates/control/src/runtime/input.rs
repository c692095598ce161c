//! Lines to a runtime, in their order, each once.

use super::output::Reporter;
use super::{Attempts, Lifeline};
use crate::tasks::{self, Task};
use bytes::Bytes;
use guest_protocol::{Client, ClientError};
use tokio::sync::mpsc;

/// Lines that may wait while the runtime does not read.
const QUEUE: usize = 64;
/// Lines that are there together go together, up to this.
const TOGETHER: usize = 256 << 10;

pub(crate) struct Input {
    lines: mpsc::Sender<Vec<u8>>,
    _task: Task<()>,
}

#[derive(Debug, thiserror::Error)]
#[error("the runtime does not read its input")]
pub(crate) struct InputFull;

impl Input {
    /// After `written` inputs of a host before this one.
    pub(super) fn start(
        client: Client,
        process: String,
        written: u64,
        lifeline: Lifeline,
        reporter: Reporter,
    ) -> Self {
        let (lines, receiver) = mpsc::channel(QUEUE);
        let task = tasks::start("runtime input", async move {
            if let Err(reason) = write(&client, &process, written, Attempts::new(lifeline), receiver).await {
                reporter.lost(reason).await;
            }
        });
        Self { lines, _task: task }
    }

    pub(super) fn send(&self, line: Vec<u8>) -> Result<(), InputFull> {
        self.lines.try_send(line).map_err(|_| InputFull)
    }
}

async fn write(
    client: &Client,
    process: &str,
    written: u64,
    mut attempts: Attempts,
    mut lines: mpsc::Receiver<Vec<u8>>,
) -> Result<(), String> {
    let mut seq = written + 1;
    while let Some(mut data) = lines.recv().await {
        while data.len() < TOGETHER {
            let Ok(line) = lines.try_recv() else { break };
            data.extend(line);
        }
        let data = Bytes::from(data);
        loop {
            // Boxed, so that a task that waits has no room for it.
            match Box::pin(client.input(process, seq, data.clone(), false)).await {
                Ok(_) => break attempts.succeeded(),
                // The runtime is busy and does not read; that is its right.
                Err(ClientError::Deadline { .. }) => attempts.succeeded(),
                Err(error) if error.is_retryable() => Box::pin(attempts.failed(&error)).await?,
                // The process is gone: its output ends with how.
                Err(error) if error.kind().is_some() => {
                    tracing::debug!(process, %error, "the guest took no input");
                    return Ok(());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        seq += 1;
    }
    Ok(())
}
