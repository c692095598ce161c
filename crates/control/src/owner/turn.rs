//! Turns: a message begins one, and a result or a failure ends it.

use super::log::Batch;
use super::{Owner, Quit, Running, Turn, Work};
use crate::conclusion::{Circumstances, Conclusion, conclude};
use crate::place::Address;
use crate::runtime::Runtime;
use crate::settings::Lifetime;
use crate::start::{Order, Start, Started, What, Where};
use crate::tasks::{self, TaskFailed};
use crate::{Idle, place};
use domain::{SandboxId, SandboxState};
use std::time::Duration;
use store::{Append, Query, SandboxChange, Sums};
use stream_json::TurnResult;
use time::OffsetDateTime;
use tokio::time::Instant;
use translate::message;
use translate::{ApiError, Translator};
use wire::{
    Body, Budget, ContentBlock, Event, RetryStatus, SessionError, SessionErrorType, SessionUsage, StopReason,
};

/// How a turn ended.
pub(super) enum Ended {
    Result {
        result: Box<TurnResult>,
        api_error: Option<ApiError>,
    },
    As(Conclusion),
}

/// A turn that is about to begin, or to go on in another runtime.
pub(super) struct Beginning {
    pub append: Append,
    pub batch: Batch,
    /// Nothing where none begins.
    pub order: Option<Order>,
    pub needs: Needs,
    /// Before a runtime is started.
    pub pause: Duration,
}

/// What is not there yet for a turn.
pub(super) enum Needs {
    Nothing,
    Runtime,
    Sandbox(Address),
}

impl Owner {
    /// Begins the turn of the oldest message that waits. The log says already that the session is running.
    pub(super) async fn next_turn(&mut self) -> Result<(), Quit> {
        let Some(seq) = self.queue.pop_front() else {
            return Ok(());
        };
        self.trace.is_next(seq);
        let mut numbers = vec![seq];
        let event = self.queued(seq).await?;
        let mut notes = Vec::new();
        if let Some(next) = self.queue.front().copied() {
            let next_event = self.queued(next).await?;
            if matches!(next_event.body, Body::SystemMessage { .. }) {
                self.queue.pop_front();
                numbers.push(next);
                notes = message::notes_of(&next_event);
            }
        }
        let content = match event.body {
            Body::UserMessage { content } => content,
            // What has no message to go with is a message of its own.
            other => message::notes_of(&Event::queued(other))
                .into_iter()
                .map(|text| ContentBlock::text(message::reminder(&text)))
                .collect(),
        };
        let order = Order::Message {
            event: event.id,
            content,
            notes,
        };
        let mut beginning = self.beginning(Batch::default(), order);
        beginning.append.processed = numbers;
        let appended = self.store_in_time(&beginning.append).await?;
        self.stand(true, Idle::default());
        self.begin(beginning, appended).await
    }

    /// A stored event that waits.
    async fn queued(&self, seq: u64) -> Result<Event, Quit> {
        let query = Query {
            after: seq - 1,
            limit: 1,
            types: &[],
        };
        let session = &self.record.row.id;
        let found = self
            .parts
            .store
            .events(session, query)
            .await
            .map_err(Quit::Store)?;
        let event = found.into_iter().find(|found| found.seq == seq);
        event.map(|found| found.event).ok_or_else(|| {
            let reason = format!("event {seq} waits to be delivered and is not there");
            let what = format!("session {session}");
            Quit::Store(store::Error::Corrupt { what, reason })
        })
    }

    /// The append that begins a turn. It records the sandbox and the process that the turn needs before they are.
    pub(super) fn beginning(&mut self, batch: Batch, order: Order) -> Beginning {
        if let (Order::Message { event, .. }, None) = (&order, &self.turn) {
            self.turn = Some(Turn::of_message(event.clone()));
        }
        if let Some(turn) = &mut self.turn {
            turn.kept.noted = matches!(&order, Order::GoOn { calls, .. } if calls.is_empty());
        }
        let mut append = self.append(&batch);
        let needs = match (&self.work, &self.place) {
            (Work::Running(_), place) => {
                if let Some(spare) = place.as_ref().filter(|place| !place.is_recorded) {
                    append.sandbox.push(begins(&spare.sandbox, &spare.token));
                    append.process = Some(process_name(1));
                }
                append.sandbox.extend(self.sandbox_moves(SandboxState::Running));
                Needs::Nothing
            }
            (_, Some(_)) => Needs::Runtime,
            (_, None) => {
                let address = Address::random();
                append.sandbox = vec![begins(&address.sandbox, &address.token)];
                Needs::Sandbox(address)
            }
        };
        if !matches!(needs, Needs::Nothing) {
            append.process = Some(process_name(self.processes + 1));
        }
        Beginning {
            append,
            batch,
            order: Some(order),
            needs,
            pause: Duration::ZERO,
        }
    }

    /// Acts on what is stored: the runtime is told, or one is started.
    pub(super) async fn begin(
        &mut self,
        beginning: Beginning,
        appended: store::Appended,
    ) -> Result<(), Quit> {
        if let Some(Order::Message { event, .. }) = &beginning.order {
            let traceparent = self.trace.begin(event);
            if let Some(turn) = &mut self.turn {
                turn.kept.trace = traceparent;
            }
            let lines = self.trace.lines();
            lines.in_scope(|| tracing::info!(turn = %event, "a turn began"));
        }
        let (Work::Running(running), Some(order)) = (&self.work, &beginning.order) else {
            return self.begin_in_new_runtime(beginning, appended).await;
        };
        let told = match order.line(&[]) {
            Some(Ok(line)) => running.runtime.send(line).map_err(|full| full.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(()),
        };
        self.stored(&beginning.append, appended, beginning.batch);
        match told {
            Ok(()) => Ok(()),
            Err(reason) => self.fail_runtime(reason).await,
        }
    }

    pub(super) async fn begin_in_new_runtime(
        &mut self,
        beginning: Beginning,
        appended: store::Appended,
    ) -> Result<(), Quit> {
        let Beginning {
            append,
            batch,
            order,
            needs,
            pause,
        } = beginning;
        self.stored(&append, appended, batch);
        let Some(order) = order else { return Ok(()) };
        let place = match (needs, self.place.take()) {
            (_, Some(place)) => Where::There(place),
            (Needs::Sandbox(address), None) => {
                let keeps_files = self.keeps_files();
                self.record.row.sandbox = Some(address.sandbox.clone());
                Where::New { address, keeps_files }
            }
            (Needs::Nothing | Needs::Runtime, None) => {
                let reason = "the sandbox was gone when the message was to be delivered";
                return self
                    .end_turn(Batch::default(), Ended::As(Conclusion::broken(reason)))
                    .await;
            }
        };
        let process = append.process.unwrap_or_default();
        self.start(place, What::Run { process, order }, pause);
        Ok(())
    }

    /// Whether the next sandbox goes on with the files of one before it.
    fn keeps_files(&self) -> bool {
        self.record.row.sandbox.is_some() && self.parts.settings.lifetime == Lifetime::Session
    }

    pub(super) fn start(&mut self, place: Where, what: What, pause: Duration) {
        let sandbox = place.sandbox().clone();
        let had_process = self.processes > 0;
        let began = self.turn.as_ref().and_then(|turn| turn.running);
        if matches!(what, What::Run { .. }) {
            self.processes += 1;
        }
        let start = Start {
            parts: self.parts.clone(),
            record: self.record.clone(),
            tools: self.tools.clone(),
            place,
            what,
            had_process,
            pause,
            waiting_since: began.filter(|_| !had_process).map(Instant::into_std),
            trace: self.trace.session().clone(),
        };
        let lines = self.trace.lines();
        self.work = Work::Starting {
            task: lines.in_scope(|| tasks::start("sandbox start", start.run())),
            sandbox,
        };
    }

    pub(super) async fn started(&mut self, started: Result<Started, TaskFailed>) -> Result<(), Quit> {
        let Work::Starting { sandbox, .. } = std::mem::replace(&mut self.work, Work::Nothing) else {
            return Ok(());
        };
        let started = match started {
            Ok(started) => started,
            Err(failed) => {
                place::tell(&place::destroy(&self.parts, &sandbox).await);
                Started::failed(failed.to_string())
            }
        };
        self.place = started.place;
        if let Some(place) = &self.place {
            // Both may have been changed since it was begun.
            place.set_budget(self.record.settings.max_cost);
            place.set_tools(self.tools.as_deref());
        }
        match started.runtime {
            Ok(Some(runtime)) => self.runtime_is_there(runtime, started.found).await?,
            Ok(None) => self.only_place_is_there().await?,
            Err(reason) => {
                if started.not_found {
                    place::tell(&place::destroy(&self.parts, &sandbox).await);
                }
                self.did_not_start(reason, started.not_found).await?;
            }
        }
        if std::mem::take(&mut self.begins_when_there) && self.turn.is_none() {
            return self.next_turn().await;
        }
        Ok(())
    }

    async fn runtime_is_there(&mut self, runtime: Runtime, found: Option<u64>) -> Result<(), Quit> {
        let stored = found.unwrap_or(0);
        let frames = self.turn.as_ref().map(|turn| turn.kept.frames.clone());
        // One that was found with output has answered long ago.
        let initialize_by = (stored == 0).then(|| Instant::now() + self.parts.settings.deadlines.initialize);
        let translator = Translator::new(self.tools.clone(), frames.unwrap_or_default());
        let mut running = Box::new(Running::new(runtime, translator, stored));
        running.initialize_by = initialize_by;
        self.work = Work::Running(running);
        let renews = std::mem::take(&mut self.renews);
        let Some(turn) = &mut self.turn else {
            if renews {
                self.renew_tools().await;
            }
            return Ok(());
        };
        if turn.kept.rescheduled {
            turn.kept.rescheduled = false;
            let mut batch = Batch::default();
            batch.body(Body::SessionStatusRunning);
            let append = self.append(&batch);
            self.write(append, batch).await?;
        }
        if self.turn.as_ref().is_some_and(|turn| turn.interrupt.is_some()) {
            self.ask_to_stop();
        }
        let again = self.turn.as_ref().map(|turn| turn.kept.asks.send_again());
        self.send_answers(again.filter(|_| found.is_some()).unwrap_or_default())
            .await
    }

    /// Ends the present turn in the log, and begins the next one if a message waits and nothing went wrong.
    pub(super) async fn end_turn(&mut self, mut batch: Batch, ended: Ended) -> Result<(), Quit> {
        let Some(turn) = self.turn.take() else {
            return self.flush(batch).await;
        };
        let sums = self.settle().await;
        let conclusion = self.conclusion(ended, &turn, &sums).await;
        let dropped = self.drop_what_waits(&conclusion);
        let conclusion = conclusion.with_dropped(dropped.len());
        self.active += turn.ran();
        if let Some(error) = conclusion.error.clone() {
            batch.body(Body::SessionError { error });
        }
        batch.body(self.usage(&sums));
        let goes_on = !self.queue.is_empty()
            && matches!(conclusion.stop_reason, StopReason::EndTurn | StopReason::Refusal)
            && conclusion
                .error
                .as_ref()
                .is_none_or(|error| error.retry_status == RetryStatus::Retrying);
        if !goes_on {
            batch.body(Body::SessionStatusIdle {
                stop_reason: conclusion.stop_reason.clone(),
                stop_details: conclusion.stop_details.clone(),
            });
        }
        let mut append = self.append(&batch);
        append.processed = dropped;
        if !goes_on {
            append.sandbox = self.sandbox_moves(SandboxState::Idle);
        }
        self.write(append, batch).await?;
        tracing::info!(
            turn = %turn.kept.message,
            stop_reason = conclusion.stop_reason.kind(),
            error = conclusion.error.as_ref().map(|error| tracing::field::debug(&error.kind)),
            took_ms = turn.ran().as_millis() as u64,
            "a turn ended"
        );
        self.trace
            .end(conclusion.stop_reason.kind(), conclusion.error.as_ref());
        if turn.kept.tools.is_some() {
            self.renew_tools().await;
        }
        if goes_on {
            self.goes_on = true;
            return Ok(());
        }
        self.hub.rest();
        let error = conclusion
            .error
            .filter(|error| error.retry_status != RetryStatus::Retrying);
        let idle = Idle {
            stop_reason: Some(conclusion.stop_reason),
            error,
            terminated: false,
        };
        self.stand(false, idle);
        Ok(())
    }

    /// The numbers of what waits, if a turn that ends so leaves nothing that does.
    pub(super) fn drop_what_waits(&mut self, conclusion: &Conclusion) -> Vec<u64> {
        if conclusion.drops_what_waits() {
            self.queue.drain(..).collect()
        } else {
            Vec::new()
        }
    }

    /// What the session has used, told.
    pub(super) fn usage(&self, sums: &Sums) -> Body {
        let budget = self.record.settings.max_cost.map(|cost| Budget {
            max_list_cost: cost.into(),
        });
        let usage = SessionUsage::new(&sums.usage, sums.list_cost(), self.active.as_secs_f64());
        Body::SessionUsage { usage, budget }
    }

    /// The ledger, when the gateway has closed the turn's last call.
    pub(super) async fn settle(&self) -> Sums {
        let patience = self.parts.settings.deadlines.settle;
        let sums = self
            .parts
            .store
            .settled_model_calls(&self.record.row.id, patience)
            .await;
        sums.unwrap_or_else(|error| {
            tracing::warn!(session = %self.record.row.id, %error, "the ledger could not be read");
            Sums::default()
        })
    }

    async fn conclusion(&mut self, ended: Ended, turn: &Turn, sums: &Sums) -> Conclusion {
        let budget = self.record.settings.max_cost;
        let known = Circumstances {
            interrupted: turn.interrupt.is_some(),
            budget_reached: budget.is_some_and(|budget| sums.cost >= budget),
        };
        let mut conclusion = match ended {
            Ended::Result { result, api_error } => conclude(&result, api_error, known),
            Ended::As(conclusion) => conclusion,
        };
        let kills = match &mut self.place {
            Some(place) => place.new_memory_kills(&self.parts).await,
            None => 0,
        };
        if kills > 0 {
            let told = out_of_memory(kills, self.record.row.limits.memory_bytes);
            if let Some(error) = &mut conclusion.error {
                error.message = format!("{told}. {}", error.message);
            } else {
                // The agent went on without what was killed.
                let kind = SessionErrorType::UnknownError;
                conclusion.error = Some(SessionError::new(kind, told, RetryStatus::Retrying));
            }
        }
        conclusion
    }
}

fn begins(sandbox: &SandboxId, token: &str) -> SandboxChange {
    SandboxChange::Begin {
        id: sandbox.clone(),
        view_started_at: OffsetDateTime::now_utc(),
        token: token.to_owned(),
    }
}

pub(super) fn out_of_memory(kills: u64, limit: u64) -> String {
    let mib = limit >> 20;
    let times = if kills == 1 {
        "a process".to_owned()
    } else {
        format!("{kills} processes")
    };
    format!(
        "the sandbox reached its memory limit of {mib} MiB and the kernel ended {times}: a higher limit (--memory, or \
         `hostler.memory` of the environment) lets it go on"
    )
}

/// The name of the session's nth process.
pub(super) fn process_name(number: u64) -> String {
    format!("runtime-{number}")
}
