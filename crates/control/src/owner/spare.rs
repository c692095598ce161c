//! A runtime that waits in its sandbox for the first message of a session that there is not yet.

use super::log::Batch;
use super::records::Next;
use super::trace::Trace;
use super::turn::process_name;
use super::{Owner, Quit, Running, Work};
use crate::place::{self, Address, Place};
use crate::record::{self, Record};
use crate::runtime::{Report, Runtime};
use crate::sessions::Parts;
use crate::start::{Start, What, Where};
use crate::{CleanupFailure, NewSession};
use domain::SessionId;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;
use translate::{State, Translator};

/// A session that takes one and says nothing has it for so long.
const TAKEN: Duration = Duration::from_mins(5);

pub(crate) struct Spare {
    /// Of the session that it is for.
    pub id: SessionId,
    pub(super) place: Place,
    pub(super) running: Box<Running>,
    pub(super) trace: Trace,
}

impl Spare {
    pub(crate) async fn discard(self, parts: &Parts) -> Vec<CleanupFailure> {
        drop(self.running);
        self.place.tear_down(parts).await
    }
}

/// Makes one for sessions like this. What could not be taken away again after a failure is the next start's.
pub(crate) async fn prepare(parts: &Arc<Parts>, pattern: NewSession) -> Result<Spare, String> {
    let id = SessionId::random();
    let row = record::row(&id, pattern).map_err(|error| error.to_string())?;
    let row = store::Session::new(&row, OffsetDateTime::now_utc());
    let record = Record::read(row).map_err(|error| error.to_string())?;
    let trace = Trace::new(&parts.traces, &record);
    let address = Address::random();
    let sandbox = address.sandbox.clone();
    let recorded = parts.store.add_spare_sandbox(&sandbox).await;
    recorded.map_err(|error| error.to_string())?;
    let tools = record.settings.tools.clone().map(Arc::new);
    let start = Start {
        parts: Arc::clone(parts),
        record,
        tools: tools.clone(),
        place: Where::New {
            address,
            keeps_files: false,
        },
        what: What::Wait {
            process: process_name(1),
        },
        had_process: false,
        pause: Duration::ZERO,
        waiting_since: None,
        trace: trace.session().clone(),
    };
    let started = start.run().await;
    let made = async {
        let runtime = started.runtime?.ok_or("no runtime was started")?;
        let translator = Translator::new(tools, State::default());
        let mut running = Box::new(Running::new(runtime, translator, 0));
        running
            .answer_initialize(parts.settings.deadlines.initialize)
            .await?;
        Ok::<_, String>(running)
    };
    match (made.await, started.place) {
        (Ok(running), Some(mut place)) => {
            place.is_recorded = false;
            Ok(Spare {
                id,
                place,
                running,
                trace,
            })
        }
        (failed, place) => {
            drop(place);
            place::tell(&place::discard(parts, &sandbox).await);
            Err(failed.err().unwrap_or_default())
        }
    }
}

impl Running {
    pub(super) fn new(runtime: Runtime, translator: Translator, stored: u64) -> Self {
        Self {
            runtime,
            translator,
            initialize_by: None,
            stored,
            seen: stored,
            unstored_bytes: 0,
            unstored_since: None,
            asked: false,
            last_words: String::new(),
        }
    }

    /// Until the runtime is ready for a message, and not for longer than that.
    async fn answer_initialize(&mut self, within: Duration) -> Result<(), String> {
        let by = Instant::now() + within;
        self.initialize_by = Some(by);
        let mut reports = Vec::new();
        while self.initialize_by.is_some() {
            let came = tokio::time::timeout_at(by, self.runtime.output.next(&mut reports)).await;
            came.map_err(|_| format!("the runtime did not answer within {within:?}"))?;
            for report in reports.drain(..) {
                let Report::Record { record, bytes, .. } = report else {
                    return Err("the sandbox was lost".to_owned());
                };
                // Nothing of a turn can be in it.
                if !matches!(self.take(record, bytes, None, &mut Batch::default()), Next::More) {
                    return Err("the runtime ended, or made no sense".to_owned());
                }
            }
        }
        Ok(())
    }
}

impl Owner {
    /// What the session was given before there was anything to do for it.
    pub(super) fn take_spare(&mut self, spare: Spare) {
        let Spare {
            place,
            running,
            trace,
            ..
        } = spare;
        place.set_budget(self.record.settings.max_cost);
        self.trace = trace;
        self.place = Some(place);
        self.work = Work::Running(running);
        self.spare_until = Some(Instant::now() + TAKEN);
    }

    /// Whether it has a sandbox that is not recorded as its own yet.
    pub(super) fn has_spare(&self) -> bool {
        self.place.as_ref().is_some_and(|place| !place.is_recorded)
    }

    /// The sandbox is recorded as the session's, and somebody waits for what it does.
    pub(super) fn spare_is_recorded(&mut self) {
        self.spare_until = None;
        self.processes = 1;
        let waiting = self.turn.as_ref().and_then(|turn| turn.running);
        let Some(place) = &mut self.place else { return };
        place.is_recorded = true;
        self.record.row.sandbox = Some(place.sandbox.clone());
        if let Some(since) = waiting {
            place.wait_since(since.into_std());
        }
    }

    /// Nobody has used it.
    pub(super) async fn give_spare_up(&mut self) -> Result<(), Quit> {
        self.spare_until = None;
        if self.turn.is_none() && self.has_spare() {
            place::tell(&self.leave_place().await);
        }
        Ok(())
    }
}
