//! A runtime's output: hostile, numbered, stored before it is shown.

use super::log::Batch;
use super::turn::{Ended, out_of_memory};
use super::{Owner, Quit, Running, Turn, Work};
use crate::asks::{Asks, Question};
use crate::conclusion::Conclusion;
use crate::permission;
use crate::place;
use crate::runtime::{INITIALIZE, Report};
use domain::{EventId, SandboxState};
use guest_protocol::{Data, Exit, OutputRecord, Payload, Stream};
use serde_json::Value;
use stream_json::{Answer, ControlRequest, Frame, Request, TurnResult};
use time::OffsetDateTime;
use translate::Meaning;
use translate::custom_tools::{self, Asked};
use wire::{ContentBlock, Event};

/// Lines without events are stored when they have become this many bytes, or with the next event.
const UNSTORED_BYTES: usize = 1 << 20;
const LAST_WORDS: usize = 4 << 10;

/// What a record means for the turn.
pub(super) enum Next {
    More,
    Ended(Box<TurnResult>),
    Exited(Exit),
    Nonsense(String),
}

impl Owner {
    pub(super) async fn reports(&mut self, reports: Vec<Report>) -> Result<(), Quit> {
        let mut batch = Batch::default();
        for report in reports {
            // What came before may have ended the runtime; what it still says is nobody's.
            let Work::Running(running) = &mut self.work else {
                break;
            };
            let next = match report {
                Report::Record {
                    record,
                    bytes,
                    received,
                    ..
                } => {
                    running.unstored_since.get_or_insert(received);
                    running.take(record, bytes, self.turn.as_mut(), &mut batch)
                }
                Report::Broken { reason } => {
                    Next::Nonsense(format!("the sandbox's guest is broken: {reason}"))
                }
                Report::Lost { reason } => {
                    self.lose_place(std::mem::take(&mut batch), &reason).await?;
                    continue;
                }
            };
            match next {
                Next::More => {}
                Next::Ended(result) => {
                    let api_error = running.translator.take_api_error();
                    self.end_turn(std::mem::take(&mut batch), Ended::Result { result, api_error })
                        .await?;
                }
                Next::Exited(exit) => self.exited(std::mem::take(&mut batch), exit).await?,
                Next::Nonsense(reason) => self.end_runtime(std::mem::take(&mut batch), reason).await?,
            }
        }
        let answers = match &mut self.turn {
            Some(turn) => turn.kept.asks.send(),
            None => Vec::new(),
        };
        self.pause_or_go_on(&mut batch);
        let stands = batch.has_events();
        self.flush(batch).await?;
        if stands {
            self.stand_as_turn();
        }
        self.send_answers(answers).await
    }

    /// Stores and shows a batch. Previews alone are shown at once: their lines are stored with the next event, and
    /// asked for again if there is none.
    pub(super) async fn flush(&mut self, batch: Batch) -> Result<(), Quit> {
        // What a runtime says before it was told anything is stored when it is.
        if self.has_spare() && batch.is_empty() {
            return Ok(());
        }
        let Work::Running(running) = &mut self.work else {
            if batch.is_empty() {
                return Ok(());
            }
            let append = self.append(&batch);
            return self.write(append, batch).await;
        };
        let must = running.unstored_bytes > UNSTORED_BYTES || std::mem::take(&mut running.asked);
        if batch.is_empty() && !must {
            return Ok(());
        }
        let mut append = self.append(&batch);
        if !batch.has_events() && !must {
            append.lines = None;
            self.stored(&append, store::Appended::default(), batch);
            return Ok(());
        }
        if let Some(turn) = &self.turn {
            append.sandbox = self.sandbox_moves(if turn.is_paused() {
                SandboxState::Idle
            } else {
                SandboxState::Running
            });
        }
        self.write(append, batch).await
    }

    async fn exited(&mut self, batch: Batch, exit: Exit) -> Result<(), Quit> {
        let Work::Running(running) = &self.work else {
            return Ok(());
        };
        let how = match exit {
            Exit::Code(code) => format!("with code {code}"),
            Exit::Signal(signal) => format!("by signal {signal}"),
        };
        let message = format!(
            "the agent's runtime ended in the middle of its turn, {how}{}; the next message starts it again",
            running.quoted_last_words()
        );
        let interrupted = self.turn.as_ref().is_some_and(|turn| turn.interrupt.is_some());
        let conclusion = if interrupted {
            Conclusion::interrupted()
        } else {
            Conclusion::broken(message)
        };
        self.leave_runtime(batch, conclusion).await
    }

    /// Ends a runtime that cannot be gone on with.
    pub(super) async fn fail_runtime(&mut self, reason: String) -> Result<(), Quit> {
        self.end_runtime(Batch::default(), reason).await
    }

    async fn end_runtime(&mut self, batch: Batch, reason: String) -> Result<(), Quit> {
        let Work::Running(running) = &self.work else {
            return Ok(());
        };
        let message = format!(
            "the agent's runtime was ended: {reason}{}",
            running.quoted_last_words()
        );
        self.leave_runtime(batch, Conclusion::broken(message)).await
    }

    async fn leave_runtime(&mut self, mut batch: Batch, conclusion: Conclusion) -> Result<(), Quit> {
        // The last lines are stored before the guest is told to forget them, and the queue waits for a new runtime.
        self.cut(&mut batch);
        self.flush(batch).await?;
        if let Work::Running(running) = std::mem::replace(&mut self.work, Work::Nothing)
            && (!running.runtime.remove().await || self.has_spare())
        {
            place::tell(&self.leave_place().await);
        }
        self.end_or_go_on(conclusion).await
    }

    /// The guest cannot be reached: its sandbox is given up.
    async fn lose_place(&mut self, mut batch: Batch, reason: &str) -> Result<(), Quit> {
        self.cut(&mut batch);
        self.flush(batch).await?;
        let message = format!(
            "the sandbox was lost: {reason}. What the agent changed stays with the session; the next message starts a \
             new sandbox"
        );
        let mut conclusion = Conclusion::broken(message);
        // Asked before the sandbox is gone: why it is lost may be its memory limit.
        let kills = match &mut self.place {
            Some(place) => place.new_memory_kills(&self.parts).await,
            None => 0,
        };
        if let (Some(error), true) = (&mut conclusion.error, kills > 0) {
            error.message = format!(
                "{}. {}",
                out_of_memory(kills, self.record.row.limits.memory_bytes),
                error.message
            );
        }
        let had_spare = self.has_spare();
        place::tell(&self.leave_place().await);
        if !had_spare {
            self.tell_of_loss().await?;
        }
        self.end_or_go_on(conclusion).await
    }
}

impl Running {
    pub(super) fn take(
        &mut self,
        record: OutputRecord,
        bytes: usize,
        turn: Option<&mut Turn>,
        batch: &mut Batch,
    ) -> Next {
        self.seen = record.seq;
        self.unstored_bytes += bytes;
        match record.payload {
            Payload::Exit(exit) => Next::Exited(exit),
            Payload::Output(data) if data.stream == Stream::Stderr => {
                self.hear(&data.into_bytes());
                Next::More
            }
            Payload::Output(data) => self.line(record.seq, data, turn, batch),
        }
    }

    fn line(&mut self, number: u64, data: Data, turn: Option<&mut Turn>, batch: &mut Batch) -> Next {
        let cut = data.cut_bytes;
        let bytes = data.into_bytes();
        if cut > 0 {
            let length = bytes.len() as u64 + cut;
            return Next::Nonsense(format!(
                "line {number} of its output has {length} bytes, more than is taken"
            ));
        }
        if bytes.trim_ascii().is_empty() {
            return Next::More;
        }
        let meanings = match Frame::parse(&bytes) {
            Ok(frame) => self
                .translator
                .translate(frame)
                .map_err(|nonsense| nonsense.to_string()),
            Err(error) => Err(format!("{error}: {}", excerpt(&bytes))),
        };
        match meanings {
            Ok(meanings) => self.act(number, meanings, turn, batch),
            Err(reason) => Next::Nonsense(format!("line {number} of its output makes no sense: {reason}")),
        }
    }

    fn act(
        &mut self,
        line: u64,
        meanings: Vec<Meaning>,
        mut turn: Option<&mut Turn>,
        batch: &mut Batch,
    ) -> Next {
        let now = OffsetDateTime::now_utc();
        let mut next = Next::More;
        for meaning in meanings {
            match meaning {
                Meaning::Event(id, body) => {
                    if let Some(turn) = &mut turn {
                        turn.told(&id, &body);
                    }
                    let processed_at = Some(now);
                    let event = Event {
                        id,
                        processed_at,
                        body,
                    };
                    batch.event(event, Some(line));
                }
                Meaning::Preview(preview) => batch.preview(preview),
                Meaning::Resolved(id) => {
                    if let Some(turn) = &mut turn {
                        turn.kept.asks.resolved(&id);
                    }
                }
                Meaning::Asks(request) => {
                    let asks = turn.as_mut().map(|turn| &mut turn.kept.asks);
                    let answer = self.answer(*request, asks);
                    let sent = answer.map(|frame| frame.to_line().ok().map(|line| self.runtime.send(line)));
                    if !matches!(sent, None | Some(Some(Ok(())))) {
                        return Next::Nonsense("it asks and does not read the answers".to_owned());
                    }
                }
                Meaning::Withdraws(request_id) => {
                    if let Some(turn) = &mut turn {
                        turn.kept.asks.withdrawn(&request_id);
                    }
                }
                Meaning::Answers(Answer::Success { request_id, .. }) if request_id == INITIALIZE => {
                    self.initialize_by = None;
                }
                Meaning::Answers(Answer::Error {
                    request_id, error, ..
                }) if request_id == INITIALIZE => {
                    let error: String = error.chars().take(500).collect();
                    return Next::Nonsense(format!("it did not start: {error}"));
                }
                // The answer to an interrupt is the end of the turn.
                Meaning::Answers(_) => {}
                Meaning::Ended(result) => next = Next::Ended(result),
            }
        }
        next
    }

    /// The answer to what the runtime asks; nothing where the user gives it.
    fn answer(&mut self, request: ControlRequest, asks: Option<&mut Asks>) -> Option<Frame> {
        let request_id = request.request_id;
        match request.request {
            Request::CanUseTool(asked) => {
                let call = self.translator.event_of(&asked.tool_use_id);
                let question = Question {
                    request_id: request_id.clone(),
                    rpc_id: None,
                    input: Some(asked.input.clone()),
                };
                let waits = |(call, asks): (&EventId, &mut Asks)| asks.asked(call, question);
                if call.zip(asks).is_some_and(waits) {
                    self.asked = true;
                    return None;
                }
                let asks = self.translator.asks(&asked.tool_name);
                Some(permission::unasked(request_id, *asked, asks))
            }
            Request::McpMessage { server_name, message } => {
                self.mcp_message(request_id, &server_name, &message, asks)
            }
            other => Some(permission::unsupported(request_id, other.subtype())),
        }
    }

    fn mcp_message(
        &mut self,
        request_id: String,
        server: &str,
        message: &Value,
        asks: Option<&mut Asks>,
    ) -> Option<Frame> {
        match custom_tools::read(server, message, self.translator.toolset()) {
            Asked::Reply(message) => Some(custom_tools::respond(&request_id, &message)),
            Asked::NoServer { name } => Some(permission::unsupported(
                request_id,
                &format!("mcp_message to {name}"),
            )),
            Asked::Call {
                rpc_id,
                name,
                tool_use_id,
            } => {
                let call = tool_use_id.and_then(|id| self.translator.event_of(&id));
                let question = Question {
                    request_id: request_id.clone(),
                    rpc_id: Some(rpc_id.clone()),
                    input: None,
                };
                let waits = |(call, asks): (&EventId, &mut Asks)| asks.asked(call, question);
                if call.zip(asks).is_some_and(waits) {
                    self.asked = true;
                    return None;
                }
                let content = [ContentBlock::text(format!(
                    "there is no open call of {name} that this could be"
                ))];
                Some(custom_tools::answer(
                    &request_id,
                    &rpc_id,
                    Some(&content),
                    Some(true),
                ))
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        tracing::debug!(
            process = self.runtime.process,
            text = &*text,
            "standard error of a runtime"
        );
        self.last_words.push_str(&text);
        if self.last_words.len() > LAST_WORDS {
            let from = self
                .last_words
                .ceil_char_boundary(self.last_words.len() - LAST_WORDS);
            self.last_words.drain(..from);
        }
    }

    fn quoted_last_words(&self) -> String {
        let words = readable(self.last_words.trim());
        if words.is_empty() {
            String::new()
        } else {
            format!(" (its last words: {words})")
        }
    }
}

/// The beginning of a line, fit to be shown.
fn excerpt(bytes: &[u8]) -> String {
    readable(&String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
}

/// Without what a terminal would act on.
fn readable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}
