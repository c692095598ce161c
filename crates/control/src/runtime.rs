//! A runtime's process in its sandbox, through the guest: what goes in, what comes out, what is acknowledged.
//!
//! Input has our numbers and output the guest's, so that a broken connection repeats nothing and loses nothing.

mod ack;
mod input;
mod launch;
mod output;

pub(crate) use ack::Acks;
pub(crate) use input::{Input, InputFull};
pub(crate) use launch::{Conversation, INITIALIZE, Launch, initialize};
pub(crate) use output::{Output, Report};

use guest_protocol::{Client, ClientError, ErrorKind, Signal, Spawn};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Short of the guest's and the client's own deadlines, so that an owner is never held up for long.
const CALL: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A started process and the tasks that serve it. Dropping it ends the tasks, not the process.
pub(crate) struct Runtime {
    pub process: String,
    client: Client,
    input: Input,
    pub output: Output,
    pub acks: Acks,
}

/// A process that was there.
pub(crate) struct Found {
    pub runtime: Runtime,
    /// Whether it was told anything yet.
    pub had_input: bool,
}

/// What has passed between hosts and a process.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The last output record that is stored.
    stored: u64,
    inputs: u64,
}

/// How to find out whether a sandbox still lives, when its guest does not answer.
#[derive(Clone)]
pub(crate) struct Lifeline {
    pub backend: Arc<dyn sandbox::Backend>,
    pub sandbox: domain::SandboxId,
    /// How long a guest may be out of reach.
    pub patience: Duration,
}

impl Runtime {
    /// Starts the process and gives it its first lines.
    pub(crate) async fn start(
        client: Client,
        spawn: Spawn,
        lines: Vec<Vec<u8>>,
        lifeline: Lifeline,
    ) -> Result<Self, String> {
        let mut attempts = Attempts::new(lifeline.clone());
        // Asked again after a lost answer, the guest finds the process that is there.
        while let Err(error) = client.spawn(&spawn).await {
            if !error.is_retryable() {
                return Err(error.to_string());
            }
            attempts.failed(&error).await?;
        }
        let runtime = Self::follow(client, spawn.id, Progress::default(), lifeline);
        for line in lines {
            // There is room: the queue is longer than any first lines.
            if runtime.send(line).is_err() {
                tracing::error!(process = runtime.process, "the first lines did not fit");
            }
        }
        Ok(runtime)
    }

    /// Finds a process that a host before this one started; nothing if it was never started.
    pub(crate) async fn find(
        client: Client,
        process: String,
        stored: u64,
        lifeline: Lifeline,
    ) -> Result<Option<Found>, String> {
        let mut attempts = Attempts::new(lifeline.clone());
        let found = loop {
            match client.process(&process).await {
                Ok(found) => break found,
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => return Ok(None),
                Err(error) if error.is_retryable() => attempts.failed(&error).await?,
                Err(error) => return Err(error.to_string()),
            }
        };
        let progress = Progress {
            stored,
            inputs: found.next_input_seq.saturating_sub(1),
        };
        Ok(Some(Found {
            runtime: Self::follow(client, process, progress, lifeline),
            had_input: progress.inputs > 0,
        }))
    }

    fn follow(client: Client, process: String, progress: Progress, lifeline: Lifeline) -> Self {
        let output = Output::start(client.clone(), process.clone(), progress.stored, lifeline.clone());
        let input = Input::start(
            client.clone(),
            process.clone(),
            progress.inputs,
            lifeline,
            output.reporter(),
        );
        let acks = Acks::start(client.clone(), process.clone());
        Self {
            process,
            client,
            input,
            output,
            acks,
        }
    }

    pub(crate) fn send(&self, line: Vec<u8>) -> Result<(), InputFull> {
        self.input.send(line)
    }

    /// Sends a signal to the process and all that it started in its group.
    pub(crate) async fn signal(&self, signal: i32) {
        let sent = self.client.signal(&self.process, Signal { signal, group: true });
        match tokio::time::timeout(CALL, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(process = self.process, signal, %error, "a signal was not sent"),
            Err(_) => tracing::warn!(process = self.process, signal, "the guest took no signal in time"),
        }
    }

    /// Kills the process and has the guest forget its output. Says whether the guest did.
    pub(crate) async fn remove(self) -> bool {
        matches!(
            tokio::time::timeout(CALL, self.client.remove(&self.process)).await,
            Ok(Ok(()))
        )
    }
}

/// Pauses between attempts to reach a guest, and the end of patience.
struct Attempts {
    lifeline: Lifeline,
    pause: Duration,
    since: Option<Instant>,
}

impl Attempts {
    fn new(lifeline: Lifeline) -> Self {
        Self {
            lifeline,
            pause: FIRST_PAUSE,
            since: None,
        }
    }

    fn succeeded(&mut self) {
        self.pause = FIRST_PAUSE;
        self.since = None;
    }

    /// Waits before the next attempt; or says why there is none.
    async fn failed(&mut self, error: &ClientError) -> Result<(), String> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if let Ok(Ok(seen)) =
            tokio::time::timeout(CALL, self.lifeline.backend.observe(&self.lifeline.sandbox)).await
            && !seen.alive
        {
            return Err("the sandbox is dead".to_owned());
        }
        if since.elapsed() >= self.lifeline.patience {
            return Err(format!(
                "the guest was out of reach for {:?}: {error}",
                self.lifeline.patience
            ));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
