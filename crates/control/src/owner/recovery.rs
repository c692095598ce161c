//! Going on after a loss: of the runtime, of the sandbox, or of the owner before this one.
//!
//! Where sessions outlive their hosts, a turn that lost its runtime goes on in another one, a few times. Calls that may
//! have run are told as interrupted; those that had not begun are made again.

use super::interrupt::Interrupt;
use super::log::Batch;
use super::turn::{Ended, process_name};
use super::{Owner, Quit, Work};
use crate::conclusion::Conclusion;
use crate::settings::Lifetime;
use crate::start::{Order, What, Where};
use crate::{Idle, place};
use domain::SessionStatus;
use std::time::Duration;
use time::OffsetDateTime;
use translate::Meaning;
use translate::message;
use wire::{Body, Event, RetryStatus, SessionError, SessionErrorType, StopReason};

/// Before the second attempt to go on, and the third and each later one.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What is told where a session has lost its sandbox while it was not at work.
pub(crate) fn sandbox_lost() -> Body {
    let message = "the session's sandbox is gone, as when the machine or hostler's jailer was stopped. Its files are \
                   kept, but for what was written shortly before and not synced; processes that the agent started are \
                   gone. The next message starts a new one";
    Body::SessionError {
        error: SessionError::new(SessionErrorType::UnknownError, message, RetryStatus::Retrying),
    }
}

impl Owner {
    /// Looks for what an owner before this one left, and goes on with its turn.
    pub(super) async fn take_over(&mut self) -> Result<(), Quit> {
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.kept.interrupted) {
            turn.interrupt = Some(Interrupt::asked(&self.parts.settings.deadlines));
        }
        let status = self.record.row.status;
        let between_turns =
            self.turn.is_none() && matches!(status, SessionStatus::Running | SessionStatus::Rescheduling);
        if between_turns && self.queue.is_empty() {
            self.rest().await?;
        } else if between_turns && self.left.is_some() {
            self.begins_when_there = true;
        } else if between_turns {
            self.goes_on = true;
        }
        if let Some(address) = self.left.take() {
            let what = if self.processes == 0 {
                What::Nothing
            } else {
                let process = process_name(self.processes);
                let stored = self.parts.store.last_line(&self.record.row.id, &process).await;
                What::Find {
                    process,
                    stored: stored.map_err(Quit::Store)?,
                    order: self.order_again().await?,
                    repeat: self
                        .turn
                        .as_ref()
                        .is_some_and(|turn| !turn.kept.heard || turn.kept.noted),
                }
            };
            self.start(Where::Found(address), what, Duration::ZERO);
            return Ok(());
        }
        if self.turn.is_none() {
            return Ok(());
        }
        let reason = "hostler was cut off while the agent was working, and with it the sandbox";
        self.lost(reason.to_owned()).await
    }

    /// A turn ended, and what was to follow it is not there.
    async fn rest(&mut self) -> Result<(), Quit> {
        let mut batch = Batch::default();
        batch.body(Body::SessionStatusIdle {
            stop_reason: StopReason::EndTurn,
            stop_details: None,
        });
        let append = self.append(&batch);
        self.write(append, batch).await?;
        let idle = Idle {
            stop_reason: Some(StopReason::EndTurn),
            ..Idle::default()
        };
        self.stand(false, idle);
        Ok(())
    }

    /// What the runtime was told, perhaps, and is to be told if it is not there.
    async fn order_again(&self) -> Result<Option<Order>, Quit> {
        match &self.turn {
            Some(turn) if !turn.is_paused() => self.order_to_go_on().await.map(Some),
            _ => Ok(None),
        }
    }

    /// The turn's message, if the runtime has said nothing to it yet; else how to go on.
    async fn order_to_go_on(&self) -> Result<Order, Quit> {
        let Some(turn) = &self.turn else {
            return Err(self.corrupt("there is no turn to go on with"));
        };
        if turn.kept.heard {
            return Ok(turn.to_go_on());
        }
        let session = &self.record.row.id;
        let found = self.parts.store.message(session, &turn.kept.message).await;
        let (message, notes) = found.map_err(Quit::Store)?;
        match message.map(|logged| logged.event) {
            Some(Event {
                id,
                body: Body::UserMessage { content },
                ..
            }) => Ok(Order::Message {
                event: id,
                content,
                notes: notes
                    .map(|logged| message::notes_of(&logged.event))
                    .unwrap_or_default(),
            }),
            _ => Ok(turn.to_go_on()),
        }
    }

    fn corrupt(&self, reason: &str) -> Quit {
        Quit::Store(store::Error::Corrupt {
            what: format!("session {}", self.record.row.id),
            reason: reason.to_owned(),
        })
    }

    /// Whether the turn goes on after a loss.
    fn may_go_on(&self) -> bool {
        let hosted = self.parts.settings.lifetime == Lifetime::Session;
        let most = self.parts.settings.bounds.restarts;
        hosted
            && self
                .turn
                .as_ref()
                .is_some_and(|turn| turn.interrupt.is_none() && turn.kept.restarts < most)
    }

    /// The runtime is gone: ends in the log what it left open, but for what another one can still do.
    pub(super) fn cut(&mut self, batch: &mut Batch) {
        let goes_on = self.may_go_on();
        let kept = match &mut self.turn {
            Some(turn) if goes_on => {
                turn.kept.asks.runtime_gone();
                turn.kept.asks.not_begun()
            }
            _ => Vec::new(),
        };
        let meanings = match (&mut self.work, &mut self.turn) {
            (Work::Running(running), turn) => {
                let meanings = running.translator.cut(&kept);
                if let Some(turn) = turn {
                    turn.kept.frames = running.translator.state().clone();
                }
                meanings
            }
            (_, Some(turn)) => turn.kept.frames.cut(&kept),
            (_, None) => Vec::new(),
        };
        note(meanings, batch);
    }

    /// Another runtime knows nothing of calls that had not begun: they end in the log, and the model may make them anew.
    fn give_up_calls(&mut self, batch: &mut Batch) {
        let Some(turn) = &mut self.turn else { return };
        for call in turn.kept.asks.not_begun() {
            turn.kept.asks.resolved(&call);
        }
        note(turn.kept.frames.give_up(), batch);
    }

    fn makes_calls_again(&self) -> bool {
        let templates = &self.parts.settings.templates;
        templates.of(&self.record.settings.runtime).makes_calls_again
    }

    /// The turn has no runtime any more, and what it left open is cut: it goes on in another one, or has ended.
    pub(super) async fn lost(&mut self, reason: String) -> Result<(), Quit> {
        self.end_or_go_on(Conclusion::broken(reason)).await
    }

    pub(super) async fn end_or_go_on(&mut self, conclusion: Conclusion) -> Result<(), Quit> {
        let mut batch = Batch::default();
        if self.turn.is_none() {
            return Ok(());
        }
        self.cut(&mut batch);
        if !self.may_go_on() {
            return self.end_turn(batch, Ended::As(conclusion)).await;
        }
        let Some(turn) = &mut self.turn else { return Ok(()) };
        if turn.is_paused() {
            // Nobody waits for the runtime; the answers will start another one.
            let append = self.append(&batch);
            return self.write(append, batch).await;
        }
        let message = conclusion.error.map(|error| error.message).unwrap_or_default();
        let pause = match turn.kept.restarts {
            0 => Duration::ZERO,
            number => PAUSES[(number as usize - 1).min(PAUSES.len() - 1)],
        };
        turn.kept.restarts += 1;
        turn.kept.rescheduled = true;
        let error = SessionError::new(SessionErrorType::UnknownError, message, RetryStatus::Retrying);
        batch.body(Body::SessionError { error });
        batch.body(Body::SessionStatusRescheduled);
        let append = self.append(&batch);
        self.write(append, batch).await?;
        self.go_on(pause).await
    }

    /// Starts a runtime that goes on with the turn.
    pub(super) async fn go_on(&mut self, pause: Duration) -> Result<(), Quit> {
        let mut batch = Batch::default();
        if !self.makes_calls_again() {
            self.give_up_calls(&mut batch);
        }
        let order = self.order_to_go_on().await?;
        let mut beginning = self.beginning(batch, order);
        beginning.pause = pause;
        let appended = self.store_in_time(&beginning.append).await?;
        self.begin_in_new_runtime(beginning, appended).await
    }

    /// Nothing of the agent's runs in the sandbox that was found.
    pub(super) async fn only_place_is_there(&mut self) -> Result<(), Quit> {
        if self.turn.is_none() {
            return Ok(());
        }
        let reason = "the agent's runtime was gone when hostler came back";
        self.lost(reason.to_owned()).await
    }

    pub(super) async fn did_not_start(&mut self, reason: String, not_found: bool) -> Result<(), Quit> {
        place::tell(&self.leave_place().await);
        if not_found {
            self.tell_of_loss().await?;
        }
        self.lost(reason).await
    }

    /// Says in the log of a session that is not at work that its sandbox is gone. A turn that is says so itself.
    pub(super) async fn tell_of_loss(&mut self) -> Result<(), Quit> {
        if self.turn.as_ref().is_some_and(|turn| !turn.is_paused()) {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.body(sandbox_lost());
        let append = self.append(&batch);
        self.write(append, batch).await
    }
}

fn note(meanings: Vec<Meaning>, batch: &mut Batch) {
    for meaning in meanings {
        if let Meaning::Event(id, body) = meaning {
            let processed_at = Some(OffsetDateTime::now_utc());
            let event = Event {
                id,
                processed_at,
                body,
            };
            batch.event(event, None);
        }
    }
}
