//! Turns that wait for the user: every open call is one that asks, and the model has nothing else to do.

use super::log::Batch;
use super::{Owner, Quit, Work};
use crate::asks::{Answer, Question};
use crate::{Idle, permission};
use domain::EventId;
use translate::custom_tools;
use wire::{Body, StopReason};

impl Owner {
    /// Notes in a batch that the turn begins to wait, or goes on by itself.
    pub(super) fn pause_or_go_on(&mut self, batch: &mut Batch) {
        let (Some(turn), Work::Running(running)) = (&mut self.turn, &self.work) else {
            return;
        };
        if turn.interrupt.is_some() {
            return;
        }
        let asks = &turn.kept.asks;
        let waiting = asks.waiting();
        let open = running.translator.open_calls();
        let held_up =
            asks.holds_up() && open.is_some_and(|open| open.iter().all(|call| waiting.contains(call)));
        if held_up && !turn.is_paused() {
            self.active += turn.pause();
            batch.body(waits_for(waiting));
        } else if turn.is_paused() && waiting.is_empty() {
            // A call that was told ended without having asked.
            turn.go_on();
            batch.body(Body::SessionStatusRunning);
        }
    }

    /// How the session stands now that its turn waits, or does not.
    pub(super) fn stand_as_turn(&self) {
        let Some(turn) = &self.turn else { return };
        if turn.is_paused() {
            let idle = Idle {
                stop_reason: Some(StopReason::RequiresAction {
                    event_ids: turn.kept.asks.waiting(),
                }),
                ..Idle::default()
            };
            self.stand(false, idle);
        } else {
            self.stand(true, Idle::default());
        }
    }

    /// Sends answers that are recorded as sent.
    pub(super) async fn send_answers(&mut self, answers: Vec<(Question, Answer)>) -> Result<(), Quit> {
        let Work::Running(running) = &self.work else {
            return Ok(());
        };
        for (question, answer) in answers {
            let frame = match (&answer, &question.rpc_id) {
                (Answer::Result { content, is_error }, Some(rpc_id)) => {
                    custom_tools::answer(&question.request_id, rpc_id, content.as_deref(), *is_error)
                }
                _ => permission::decided(&question, &answer),
            };
            let sent = frame.to_line().ok().map(|line| running.runtime.send(line));
            if !matches!(sent, Some(Ok(()))) {
                return self
                    .fail_runtime("it asks and does not read the answers".to_owned())
                    .await;
            }
        }
        Ok(())
    }
}

pub(super) fn waits_for(event_ids: Vec<EventId>) -> Body {
    Body::SessionStatusIdle {
        stop_reason: StopReason::RequiresAction { event_ids },
        stop_details: None,
    }
}
