//! Turns: a message begins one, and a result or a failure ends it.

use super::log::Batch;
use super::{Owner, Quit, Running, Turn, Work};
use crate::conclusion::{Circumstances, Conclusion, conclude};
use crate::start::{Start, Started, Where};
use crate::tasks::{self, TaskFailed};
use crate::translate::{ApiError, Translator};
use crate::{Idle, SendError, message, place};
use domain::{EventId, SandboxId, SandboxState};
use std::time::Duration;
use store::{Append, Query, SandboxChange, Sums};
use stream_json::TurnResult;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wire::{
    Body, ContentBlock, Event, RetryStatus, SessionError, SessionErrorType, SessionUsage, StopReason,
};

/// How a turn ended.
pub(super) enum Ended {
    Result {
        result: Box<TurnResult>,
        api_error: Option<ApiError>,
    },
    As(Conclusion),
}

/// A turn that is about to begin.
struct Beginning {
    append: Append,
    batch: Batch,
    message: EventId,
    line: Vec<u8>,
    needs: Needs,
}

/// What is not there yet for a turn.
enum Needs {
    Nothing,
    Runtime,
    Sandbox(SandboxId),
}

impl Owner {
    pub(super) async fn send(
        &mut self,
        content: Vec<ContentBlock>,
        reply: oneshot::Sender<Result<EventId, SendError>>,
    ) -> Result<(), Quit> {
        if self.queue.len() >= self.parts.settings.bounds.queued_messages {
            let _ = reply.send(Err(SendError::QueueFull {
                count: self.queue.len(),
            }));
            return Ok(());
        }
        let mut event = Event::queued(Body::UserMessage { content });
        let id = event.id.clone();
        let mut batch = Batch::default();
        if self.turn.is_some() || !self.queue.is_empty() {
            batch.event(event, None);
            let append = Append {
                lines: None,
                ..self.append(&batch)
            };
            match self.parts.store.append(append.clone()).await {
                Ok(appended) => {
                    self.queue.extend(appended.events.iter().map(|event| event.seq));
                    self.stored(&append, appended, batch);
                }
                Err(error) => return refuse(reply, error),
            }
            self.stand(true, Idle::default());
            let _ = reply.send(Ok(id));
            return if self.turn.is_none() {
                self.next_turn(false).await
            } else {
                Ok(())
            };
        }
        event.processed_at = Some(OffsetDateTime::now_utc());
        let line = match message_line(&event) {
            Ok(line) => line,
            Err(error) => {
                let _ = reply.send(Err(error));
                return Ok(());
            }
        };
        batch.event(event, None);
        batch.body(Body::SessionStatusRunning);
        let beginning = self.beginning(batch, id.clone(), line);
        match self.parts.store.append(beginning.append.clone()).await {
            Ok(appended) => {
                self.stand(true, Idle::default());
                let _ = reply.send(Ok(id));
                self.begin(beginning, appended).await
            }
            Err(error) => refuse(reply, error),
        }
    }

    /// Begins the turn of the oldest message that waits.
    pub(super) async fn next_turn(&mut self, is_running: bool) -> Result<(), Quit> {
        let Some(seq) = self.queue.pop_front() else {
            return Ok(());
        };
        let query = Query {
            after: seq - 1,
            limit: 1,
            types: &[],
        };
        let found = self
            .parts
            .store
            .events(&self.record.row.id, query)
            .await
            .map_err(Quit::Store)?;
        let Some(event) = found
            .into_iter()
            .find(|found| found.seq == seq)
            .map(|found| found.event)
        else {
            let reason = format!("event {seq} waits to be delivered and is not there");
            let what = format!("session {}", self.record.row.id);
            return Err(Quit::Store(store::Error::Corrupt { what, reason }));
        };
        let line = message_line(&event).unwrap_or_default();
        let mut batch = Batch::default();
        if !is_running {
            batch.body(Body::SessionStatusRunning);
        }
        let mut beginning = self.beginning(batch, event.id, line);
        beginning.append.processed.push(seq);
        let deadline = Instant::now() + self.parts.settings.deadlines.store;
        loop {
            match self.parts.store.append(beginning.append.clone()).await {
                Ok(appended) => return self.begin(beginning, appended).await,
                Err(store::Error::DiskFull) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(Quit::Store(error)),
            }
        }
    }

    /// The append that begins a turn. It records the sandbox and the process that the turn needs before they are.
    fn beginning(&self, batch: Batch, message: EventId, line: Vec<u8>) -> Beginning {
        let mut append = self.append(&batch);
        let needs = match (&self.work, &self.place) {
            (Work::Running(_), _) => {
                append.sandbox = self.sandbox_moves(SandboxState::Running);
                Needs::Nothing
            }
            (_, Some(_)) => Needs::Runtime,
            (_, None) => {
                let id = SandboxId::random();
                let view_started_at = OffsetDateTime::now_utc();
                append.sandbox = vec![SandboxChange::Begin {
                    id: id.clone(),
                    view_started_at,
                }];
                Needs::Sandbox(id)
            }
        };
        if !matches!(needs, Needs::Nothing) {
            append.process = Some(format!("runtime-{}", self.processes + 1));
        }
        Beginning {
            append,
            batch,
            message,
            line,
            needs,
        }
    }

    /// Acts on a message that is stored.
    async fn begin(&mut self, beginning: Beginning, appended: store::Appended) -> Result<(), Quit> {
        let Beginning {
            append,
            batch,
            message,
            line,
            needs,
        } = beginning;
        self.stored(&append, appended, batch);
        self.turn = Some(Turn {
            began: Instant::now(),
            interrupt: None,
        });
        if let Work::Running(running) = &self.work {
            return match running.runtime.send(line) {
                Ok(()) => Ok(()),
                Err(full) => self.fail_runtime(full.to_string()).await,
            };
        }
        let (sandbox, place) = match (needs, self.place.take()) {
            (_, Some(place)) => (place.sandbox.clone(), Where::There(place)),
            (Needs::Sandbox(id), None) => (id.clone(), Where::New(id)),
            (Needs::Nothing | Needs::Runtime, None) => {
                let reason = "the sandbox was gone when the message was to be delivered";
                return self
                    .end_turn(Batch::default(), Ended::As(Conclusion::broken(reason)))
                    .await;
            }
        };
        let process = append.process.unwrap_or_default();
        let start = Start {
            parts: self.parts.clone(),
            record: self.record.clone(),
            place,
            process,
            message,
            first_line: line,
            had_process: self.processes > 0,
        };
        self.processes += 1;
        self.work = Work::Starting {
            task: tasks::start("sandbox start", start.run()),
            sandbox,
        };
        Ok(())
    }

    pub(super) async fn started(&mut self, started: Result<Started, TaskFailed>) -> Result<(), Quit> {
        let Work::Starting { sandbox, .. } = std::mem::replace(&mut self.work, Work::Nothing) else {
            return Ok(());
        };
        let started = match started {
            Ok(started) => started,
            Err(failed) => {
                place::tell(&place::destroy(&self.parts, &sandbox).await);
                Started {
                    place: None,
                    runtime: Err(failed.to_string()),
                }
            }
        };
        self.place = started.place;
        match started.runtime {
            Ok(runtime) => {
                self.work = Work::Running(Box::new(Running {
                    runtime,
                    translator: Translator::default(),
                    initialize_by: Some(Instant::now() + self.parts.settings.deadlines.initialize),
                    stored: 0,
                    seen: 0,
                    unstored_bytes: 0,
                    last_words: String::new(),
                }));
                if self.turn.as_ref().is_some_and(|turn| turn.interrupt.is_some()) {
                    self.ask_to_stop();
                }
                Ok(())
            }
            Err(reason) => {
                place::tell(&self.leave_place().await);
                self.end_turn(Batch::default(), Ended::As(Conclusion::broken(reason)))
                    .await
            }
        }
    }

    /// Ends the present turn in the log, and begins the next one if a message waits and nothing went wrong.
    pub(super) async fn end_turn(&mut self, mut batch: Batch, ended: Ended) -> Result<(), Quit> {
        let Some(turn) = self.turn.take() else {
            return self.flush(batch).await;
        };
        let sums = self.settle().await;
        let conclusion = self.conclusion(ended, &turn, &sums).await;
        self.active += turn.began.elapsed();
        if let Some(error) = conclusion.error.clone() {
            batch.body(Body::SessionError { error });
        }
        let usage = SessionUsage::new(&sums.usage, sums.list_cost(), self.active.as_secs_f64());
        batch.body(Body::SessionUsage { usage, budget: None });
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
        if !goes_on {
            append.sandbox = self.sandbox_moves(SandboxState::Idle);
        }
        self.write(append, batch).await?;
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

pub(super) fn out_of_memory(kills: u64, limit: u64) -> String {
    let mib = limit >> 20;
    let times = if kills == 1 {
        "a process".to_owned()
    } else {
        format!("{kills} processes")
    };
    format!(
        "the sandbox reached its memory limit of {mib} MiB and the kernel ended {times}; --memory raises the limit"
    )
}

/// The answer to a message that was not stored. Another owner ends this one.
fn refuse(reply: oneshot::Sender<Result<EventId, SendError>>, error: store::Error) -> Result<(), Quit> {
    if let store::Error::Fenced { session, epoch } = &error {
        let fenced = store::Error::Fenced {
            session: session.clone(),
            epoch: *epoch,
        };
        let _ = reply.send(Err(SendError::Access(error.into())));
        return Err(Quit::Store(fenced));
    }
    let _ = reply.send(Err(SendError::Access(error.into())));
    Ok(())
}

fn message_line(event: &Event) -> Result<Vec<u8>, SendError> {
    let Body::UserMessage { content } = &event.body else {
        return Err(SendError::Empty);
    };
    let unwritable = |error: stream_json::FrameError| SendError::Block {
        kind: error.to_string(),
    };
    message::frame(&event.id, content).to_line().map_err(unwritable)
}
