//! How an owner writes the log: stored, then shown. A full disk is waited for; another owner is not.

use super::{GaveUp, Owner, Quit, Standing, Work};
use crate::Idle;
use crate::events::Item;
use crate::settings::Lifetime;
use domain::{EventId, SandboxState, SessionStatus};
use std::sync::Arc;
use std::time::Duration;
use store::{Append, Appended, Lines, LoggedEvent, NewEvent, SandboxChange, TurnChange};
use time::OffsetDateTime;
use tokio::time::Instant;
use wire::{Body, Event, Preview};

const PAUSE: Duration = Duration::from_millis(200);

/// What is to be shown, in its order: events when they are stored, previews at once after what is before them.
#[derive(Default)]
pub(super) struct Batch {
    events: Vec<NewEvent>,
    shown: Vec<Shown>,
}

enum Shown {
    Event(EventId),
    Preview(Preview),
}

impl Batch {
    pub(super) fn event(&mut self, event: Event, line: Option<u64>) {
        self.shown.push(Shown::Event(event.id.clone()));
        self.events.push(NewEvent { event, line });
    }

    pub(super) fn body(&mut self, body: Body) {
        self.event(Event::new(body, OffsetDateTime::now_utc()), None);
    }

    pub(super) fn preview(&mut self, preview: Preview) {
        self.shown.push(Shown::Preview(preview));
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

impl Owner {
    /// The batch as an append, with the lines that it came from.
    pub(super) fn append(&mut self, batch: &Batch) -> Append {
        let mut append = Append::new(self.record.row.id.clone(), self.epoch, []);
        append.create.clone_from(&self.create);
        append.events.clone_from(&batch.events);
        append.status = batch
            .events
            .iter()
            .filter_map(|new| status_of(&new.event.body))
            .next_back();
        if let Work::Running(running) = &self.work
            && running.seen > running.stored
        {
            let process = running.runtime.process.clone();
            append.lines = Some(Lines {
                process,
                first: running.stored + 1,
                last: running.seen,
            });
        }
        append.turn = self.turn_change();
        append
    }

    /// What becomes of what is stored of the turn.
    fn turn_change(&mut self) -> TurnChange {
        if self.parts.settings.lifetime == Lifetime::Host {
            return TurnChange::Same;
        }
        let Some(turn) = &mut self.turn else {
            return match self.stored_turn {
                Some(_) => TurnChange::Over,
                None => TurnChange::Same,
            };
        };
        if let Work::Running(running) = &self.work {
            turn.kept.frames = running.translator.state().clone();
        }
        let json = turn.as_json();
        if self.stored_turn.as_ref() == Some(&json) {
            TurnChange::Same
        } else {
            TurnChange::Keep(json)
        }
    }

    /// The moves of the sandbox to a state, from the one that is recorded.
    pub(super) fn sandbox_moves(&self, to: SandboxState) -> Vec<SandboxChange> {
        let Some(place) = &self.place else {
            return Vec::new();
        };
        let path = match (place.state, to) {
            // The turn was over before anything of it was stored.
            (SandboxState::Starting, SandboxState::Idle) => vec![SandboxState::Running, to],
            (from, to) if from.may_become(to) => vec![to],
            _ => Vec::new(),
        };
        let step = |to| SandboxChange::State {
            id: place.sandbox.clone(),
            to,
        };
        path.into_iter().map(step).collect()
    }

    /// Stores what need not be shown yet, or waits for room until it is too late.
    pub(super) async fn store_in_time(&self, append: &Append) -> Result<Appended, Quit> {
        let deadline = Instant::now() + self.parts.settings.deadlines.store;
        loop {
            match self.parts.store.append(append.clone()).await {
                Ok(appended) => return Ok(appended),
                Err(store::Error::DiskFull) if Instant::now() < deadline => {
                    tracing::warn!(session = %self.record.row.id, "the disk is full; the session waits for room");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(Quit::Store(error)),
            }
        }
    }

    /// Stores what the agent did and shows it. While the disk is full the guest keeps what comes after it.
    pub(super) async fn write(&mut self, append: Append, batch: Batch) -> Result<(), Quit> {
        let appended = self.store_in_time(&append).await?;
        self.stored(&append, appended, batch);
        Ok(())
    }

    /// What follows from an append that is on the disk.
    pub(super) fn stored(&mut self, append: &Append, appended: Appended, batch: Batch) {
        self.create = None;
        self.trace.logged(&appended.events);
        match &append.turn {
            TurnChange::Same => {}
            TurnChange::Keep(json) => self.stored_turn = Some(json.clone()),
            TurnChange::Over => self.stored_turn = None,
        }
        if self.has_spare() && matches!(append.sandbox.first(), Some(SandboxChange::Begin { .. })) {
            self.spare_is_recorded();
        }
        if let (Some(place), Some(SandboxChange::State { to, .. })) = (&mut self.place, append.sandbox.last())
        {
            place.state = *to;
        }
        if let (Work::Running(running), Some(lines)) = (&mut self.work, &append.lines) {
            running.stored = lines.last;
            running.unstored_bytes = 0;
            if let Some(since) = running.unstored_since.take() {
                self.parts.meter.appended(since.elapsed());
            }
            running.runtime.acks.stored(lines.last);
        }
        let mut events = appended.events.into_iter().peekable();
        self.hub
            .show(batch.shown.into_iter().filter_map(|shown| match shown {
                Shown::Preview(preview) => Some(Item::Preview(Arc::new(preview))),
                Shown::Event(id) => {
                    let stored = |logged: &LoggedEvent| logged.event.id == id;
                    events.next_if(stored).map(Item::from)
                }
            }));
    }

    pub(super) fn stand(&self, busy: bool, idle: Idle) {
        let standing = Standing {
            busy,
            idle,
            gone: false,
        };
        self.standing.send_if_modified(|present| {
            let changed = *present != standing;
            *present = standing;
            changed
        });
    }

    /// Ends what is under way without a word in the log, which cannot be written. The next owner writes it.
    pub(super) async fn give_up(mut self: Box<Self>, error: store::Error) -> Option<GaveUp> {
        let session = &self.record.row.id;
        tracing::error!(%session, %error, "the session's log cannot be written: its agent is stopped");
        // What is another owner's now is left to it.
        if !matches!(error, store::Error::Fenced { .. }) {
            crate::place::tell(&self.leave_place().await);
        }
        let commands = self.commands;
        let hosted = self.parts.settings.lifetime == Lifetime::Session;
        (hosted && error.may_pass()).then_some(GaveUp { commands, error })
    }
}

fn status_of(body: &Body) -> Option<SessionStatus> {
    match body {
        Body::SessionStatusRunning => Some(SessionStatus::Running),
        Body::SessionStatusIdle { .. } => Some(SessionStatus::Idle),
        Body::SessionStatusRescheduled => Some(SessionStatus::Rescheduling),
        Body::SessionStatusTerminated => Some(SessionStatus::Terminated),
        _ => None,
    }
}
