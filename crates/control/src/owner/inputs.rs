//! What clients send: checked against how the session stands, stored as a whole or not at all, then acted on.

use super::interrupt::Interrupt;
use super::log::Batch;
use super::pause::waits_for;
use super::turn::{Beginning, Ended, Needs};
use super::{Owner, Quit, Work};
use crate::asks::{Answer, Question};
use crate::conclusion::Conclusion;
use crate::input::Input;
use crate::start::Order;
use crate::{AnswerError, Idle, SendError};
use domain::EventId;
use std::time::Duration;
use store::{Append, LoggedEvent};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use translate::message;
use wire::{Body, Event};

type Reply = oneshot::Sender<Result<Vec<LoggedEvent>, SendError>>;

/// Inputs that are about to be stored, and what follows from them.
#[derive(Default)]
struct Received {
    batch: Batch,
    ids: Vec<EventId>,
    /// The message that begins a turn at once.
    first: Option<Order>,
    /// There are messages that wait.
    waits: bool,
    answers: Vec<(Question, Answer)>,
    answered: bool,
    interrupts: bool,
}

impl Owner {
    pub(super) async fn receive(&mut self, inputs: Vec<Input>, reply: Reply) -> Result<(), Quit> {
        if let Some(error) = self.shut() {
            let _ = reply.send(Err(error));
            return self.unless_archived();
        }
        let turn_before = self.turn.clone();
        let received = match self.take_in(inputs) {
            Ok(received) => received,
            Err(error) => {
                self.turn = turn_before;
                let _ = reply.send(Err(error));
                return Ok(());
            }
        };
        let Received {
            mut batch,
            ids,
            first,
            waits,
            answers,
            answered,
            interrupts,
        } = received;
        // Messages of a turn that has ended wait until there is another one.
        let goes_on = waits && first.is_none() && self.turn.is_none();
        if goes_on && !self.begins_when_there {
            batch.body(Body::SessionStatusRunning);
        }
        let beginning = match first {
            Some(order) => {
                batch.body(Body::SessionStatusRunning);
                self.beginning(batch, order)
            }
            None => Beginning {
                append: Append {
                    lines: None,
                    ..self.append(&batch)
                },
                batch,
                order: None,
                needs: Needs::Nothing,
                pause: Duration::ZERO,
            },
        };
        let appended = match self.parts.store.append(beginning.append.clone()).await {
            Ok(appended) => appended,
            Err(error) => {
                self.turn = turn_before;
                return refuse(reply, error);
            }
        };
        let mine = |logged: &&LoggedEvent| ids.contains(&logged.event.id);
        let stored: Vec<LoggedEvent> = appended.events.iter().filter(mine).cloned().collect();
        let waits = stored.iter().filter(|logged| logged.event.processed_at.is_none());
        let waits: Vec<u64> = waits.map(|logged| logged.seq).collect();
        self.trace.waits(waits.iter().copied());
        self.queue.extend(waits);
        let begins = beginning.order.is_some();
        self.stand_as_turn();
        let _ = reply.send(Ok(stored));
        self.act_on(beginning, appended, answers).await?;
        if begins {
            return Ok(());
        }
        if goes_on {
            return self.begin_what_waits().await;
        }
        if answered {
            self.answered().await?;
        }
        if interrupts {
            self.interrupted().await?;
        }
        Ok(())
    }

    /// Begins the turn of the oldest message that waits, as the log says, once nothing is looked for any more.
    pub(super) async fn begin_what_waits(&mut self) -> Result<(), Quit> {
        self.stand(true, Idle::default());
        if matches!(self.work, Work::Starting { .. }) {
            self.begins_when_there = true;
            return Ok(());
        }
        self.next_turn().await
    }

    /// Shows what is stored, sends what is answered, and begins the turn that is to begin.
    async fn act_on(
        &mut self,
        beginning: Beginning,
        appended: store::Appended,
        answers: Vec<(Question, Answer)>,
    ) -> Result<(), Quit> {
        if beginning.order.is_some() {
            return self.begin(beginning, appended).await;
        }
        self.stored(&beginning.append, appended, beginning.batch);
        self.send_answers(answers).await
    }

    /// Checks inputs one after another, as if those before were stored, and changes the turn as they want it.
    fn take_in(&mut self, inputs: Vec<Input>) -> Result<Received, SendError> {
        let may_wait = |input: &&Input| matches!(input, Input::Message { .. } | Input::System { .. });
        let waiting = inputs.iter().filter(may_wait).count();
        if waiting > 0 && self.queue.len() + waiting > self.parts.settings.bounds.queued_messages {
            let count = self.queue.len();
            return Err(SendError::QueueFull { count });
        }
        let mut received = Received::default();
        let is_looking = matches!(self.work, Work::Starting { .. });
        let may_begin = self.turn.is_none() && self.queue.is_empty() && !is_looking;
        let mut inputs = inputs.into_iter().peekable();
        while let Some(input) = inputs.next() {
            let mut event = input.into_event();
            let note = inputs.next_if(|next| matches!(next, Input::System { .. }));
            let mut note = note.map(Input::into_event);
            let notes = note.as_ref().map(message::notes_of).unwrap_or_default();
            let now = Some(OffsetDateTime::now_utc());
            match &event.body {
                Body::UserMessage { content } if may_begin && received.first.is_none() => {
                    received.first = Some(Order::Message {
                        event: event.id.clone(),
                        content: content.clone(),
                        notes,
                    });
                    event.processed_at = now;
                }
                Body::UserInterrupt { .. } => {
                    received.interrupts = true;
                    event.processed_at = now;
                }
                Body::UserToolConfirmation { .. } | Body::UserCustomToolResult { .. } => {
                    self.take_answer(&event, &notes)?;
                    received.answered = true;
                    event.processed_at = now;
                }
                Body::UserMessage { .. } => received.waits = true,
                _ => {}
            }
            if let Some(note) = &mut note {
                note.processed_at = event.processed_at;
            }
            for event in [Some(event), note].into_iter().flatten() {
                received.ids.push(event.id.clone());
                received.batch.event(event, None);
            }
        }
        self.settle_answers(&mut received);
        if let Some(turn) = self.turn.as_mut().filter(|_| received.interrupts)
            && turn.interrupt.is_none()
        {
            if turn.is_paused() {
                turn.go_on();
                received.batch.body(Body::SessionStatusRunning);
            }
            turn.kept.interrupted = true;
            turn.interrupt = Some(Interrupt::asked(&self.parts.settings.deadlines));
        } else {
            received.interrupts = false;
        }
        Ok(received)
    }

    fn take_answer(&mut self, event: &Event, notes: &[String]) -> Result<(), SendError> {
        let Some((id, answer)) = Answer::of_event(&event.body) else {
            return Ok(());
        };
        let answer = answer.noted(notes);
        let turn = self.turn.as_mut().filter(|turn| turn.interrupt.is_none());
        let asks = turn.map(|turn| &mut turn.kept.asks);
        match asks {
            Some(asks) => Ok(asks.answered(id, answer)?),
            None => Err(AnswerError::NotOpen { id: id.clone() }.into()),
        }
    }

    /// What the answers come to: the turn goes on, or waits for the rest.
    fn settle_answers(&mut self, received: &mut Received) {
        let Some(turn) = self.turn.as_mut().filter(|_| received.answered) else {
            return;
        };
        received.answers = turn.kept.asks.send();
        if !turn.is_paused() {
            return;
        }
        let waiting = turn.kept.asks.waiting();
        received.batch.body(if waiting.is_empty() {
            turn.go_on();
            Body::SessionStatusRunning
        } else {
            waits_for(waiting)
        });
    }

    /// Goes on with a turn that has no runtime any more, now that it has all its answers.
    async fn answered(&mut self) -> Result<(), Quit> {
        let goes_on = self.turn.as_ref().is_some_and(|turn| !turn.is_paused());
        if goes_on && matches!(self.work, Work::Nothing) {
            return self.go_on(Duration::ZERO).await;
        }
        Ok(())
    }

    async fn interrupted(&mut self) -> Result<(), Quit> {
        if matches!(self.work, Work::Nothing) {
            let mut batch = Batch::default();
            self.cut(&mut batch);
            let ended = Ended::As(Conclusion::interrupted());
            return self.end_turn(batch, ended).await;
        }
        self.ask_to_stop();
        Ok(())
    }
}

/// The answer to what was not stored. Another owner ends this one.
pub(super) fn refuse<T>(
    reply: oneshot::Sender<Result<T, SendError>>,
    error: store::Error,
) -> Result<(), Quit> {
    if matches!(error, store::Error::Fenced { .. }) {
        let _ = reply.send(Err(SendError::Access(error.again().into())));
        return Err(Quit::Store(error));
    }
    let _ = reply.send(Err(SendError::Access(error.into())));
    Ok(())
}
