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

use guest_protocol::{Client, ClientError, Signal, Spawn};
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
        let process = spawn.id;
        let output = Output::start(client.clone(), process.clone(), lifeline.clone());
        let input = Input::start(client.clone(), process.clone(), lifeline, output.reporter());
        for line in lines {
            // There is room: the queue is longer than any first lines.
            if input.send(line).is_err() {
                tracing::error!(process, "the first lines did not fit");
            }
        }
        let acks = Acks::start(client.clone(), process.clone());
        Ok(Self {
            process,
            client,
            input,
            output,
            acks,
        })
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
