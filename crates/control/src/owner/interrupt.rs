//! Interrupting a turn: first the runtime is asked, then it gets signals, then it loses its sandbox. Each step has a
//! deadline, so a turn that was interrupted ends.

use super::log::Batch;
use super::turn::Ended;
use super::{Owner, Quit, Work};
use crate::conclusion::Conclusion;
use crate::place;
use crate::settings::Deadlines;
use stream_json::{ControlRequest, Frame, Request};
use tokio::time::Instant;
use wire::{RetryStatus, SessionError, SessionErrorType};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// How far an interrupt has gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interrupt {
    pressure: Pressure,
    /// When the next step is taken.
    next: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pressure {
    Asked,
    Terminated,
    Killed,
}

impl Interrupt {
    pub(super) fn asked(deadlines: &Deadlines) -> Self {
        Self {
            pressure: Pressure::Asked,
            next: Instant::now() + deadlines.interrupt,
        }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

impl Owner {
    /// Asks the runtime, if there is one; one that is still starting is asked when it has started.
    pub(super) fn ask_to_stop(&mut self) {
        let Work::Running(running) = &self.work else {
            return;
        };
        let request = ControlRequest {
            request_id: format!("hostler-interrupt-{}", running.seen),
            request: Request::Interrupt { cancel_queued: None },
        };
        let sent = Frame::ControlRequest(Box::new(request))
            .to_line()
            .ok()
            .map(|line| running.runtime.send(line));
        if !matches!(sent, Some(Ok(()))) {
            tracing::warn!(session = %self.record.row.id, "the runtime could not be asked to stop");
        }
    }

    /// The next step of an interrupt that has not worked.
    pub(super) async fn press_interrupt(&mut self, now: Instant) -> Result<(), Quit> {
        let Some(interrupt) = self.turn.as_mut().and_then(|turn| turn.interrupt.as_mut()) else {
            return Ok(());
        };
        if interrupt.next > now {
            return Ok(());
        }
        let signal = match interrupt.pressure {
            Pressure::Asked => SIGTERM,
            Pressure::Terminated => SIGKILL,
            Pressure::Killed => return self.abandon_place().await,
        };
        interrupt.pressure = if signal == SIGTERM {
            Pressure::Terminated
        } else {
            Pressure::Killed
        };
        interrupt.next = now + self.parts.settings.deadlines.signal;
        match &self.work {
            Work::Running(running) => {
                running.runtime.signal(signal).await;
                Ok(())
            }
            // It has not even started: nothing that it could lose.
            Work::Starting { .. } | Work::Nothing => self.abandon_place().await,
        }
    }

    /// Ends an interrupted turn by ending the sandbox.
    async fn abandon_place(&mut self) -> Result<(), Quit> {
        let mut batch = Batch::default();
        self.cut(&mut batch);
        self.flush(batch).await?;
        place::tell(&self.leave_place().await);
        let told = "the agent could not be interrupted, so its sandbox was ended: what it changed stays, and the next \
                    message starts a new sandbox";
        // What waits comes after it, as after any interrupt.
        let kind = SessionErrorType::UnknownError;
        let error = SessionError::new(kind, told, RetryStatus::Retrying);
        let conclusion = Conclusion {
            error: Some(error),
            ..Conclusion::interrupted()
        };
        self.end_turn(Batch::default(), Ended::As(conclusion)).await
    }
}
