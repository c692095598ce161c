//! A runtime's output: hostile, numbered, stored before it is shown.

use super::log::Batch;
use super::turn::{Ended, out_of_memory};
use super::{Owner, Quit, Running, Work};
use crate::conclusion::Conclusion;
use crate::permission;
use crate::place;
use crate::runtime::{INITIALIZE, Report};
use crate::translate::Meaning;
use domain::SandboxState;
use guest_protocol::{Data, Exit, OutputRecord, Payload, Stream};
use stream_json::{Answer, Frame, TurnResult};
use time::OffsetDateTime;
use wire::Event;

/// Lines without events are stored when they have become this many bytes, or with the next event.
const UNSTORED_BYTES: usize = 1 << 20;
const LAST_WORDS: usize = 4 << 10;

/// What a record means for the turn.
enum Next {
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
                Report::Record { record, bytes, .. } => running.take(record, bytes, &mut batch),
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
        self.flush(batch).await
    }

    /// Stores and shows a batch. Previews alone are shown at once: their lines are stored with the next event, and
    /// asked for again if there is none.
    pub(super) async fn flush(&mut self, batch: Batch) -> Result<(), Quit> {
        let full = matches!(&self.work, Work::Running(running) if running.unstored_bytes > UNSTORED_BYTES);
        if batch.is_empty() && !full {
            return Ok(());
        }
        let mut append = self.append(&batch);
        if !batch.has_events() && !full {
            append.lines = None;
            self.stored(&append, store::Appended::default(), batch);
            return Ok(());
        }
        if self.turn.is_some() {
            append.sandbox = self.sandbox_moves(SandboxState::Running);
        }
        self.write(append, batch).await
    }

    async fn exited(&mut self, mut batch: Batch, exit: Exit) -> Result<(), Quit> {
        let Work::Running(running) = &mut self.work else {
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
        running.cut(&mut batch);
        let interrupted = self.turn.as_ref().is_some_and(|turn| turn.interrupt.is_some());
        let conclusion = if interrupted {
            Conclusion::interrupted()
        } else {
            Conclusion::broken(message)
        };
        self.end_turn_without_runtime(batch, conclusion).await
    }

    /// Ends a runtime that cannot be gone on with.
    pub(super) async fn fail_runtime(&mut self, reason: String) -> Result<(), Quit> {
        self.end_runtime(Batch::default(), reason).await
    }

    async fn end_runtime(&mut self, mut batch: Batch, reason: String) -> Result<(), Quit> {
        let Work::Running(running) = &mut self.work else {
            return Ok(());
        };
        running.cut(&mut batch);
        let message = format!(
            "the agent's runtime was ended: {reason}{}",
            running.quoted_last_words()
        );
        self.end_turn_without_runtime(batch, Conclusion::broken(message))
            .await
    }

    async fn end_turn_without_runtime(&mut self, batch: Batch, conclusion: Conclusion) -> Result<(), Quit> {
        // The last lines are stored before the guest is told to forget them, and the queue waits for a new runtime.
        self.flush(batch).await?;
        if let Work::Running(running) = std::mem::replace(&mut self.work, Work::Nothing)
            && !running.runtime.remove().await
        {
            place::tell(&self.leave_place().await);
        }
        self.end_turn(Batch::default(), Ended::As(conclusion)).await
    }

    /// The guest cannot be reached: its sandbox is given up.
    async fn lose_place(&mut self, mut batch: Batch, reason: &str) -> Result<(), Quit> {
        if let Work::Running(running) = &mut self.work {
            running.cut(&mut batch);
        }
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
        place::tell(&self.leave_place().await);
        self.end_turn(Batch::default(), Ended::As(conclusion)).await
    }
}

impl Running {
    fn take(&mut self, record: OutputRecord, bytes: usize, batch: &mut Batch) -> Next {
        self.seen = record.seq;
        self.unstored_bytes += bytes;
        match record.payload {
            Payload::Exit(exit) => Next::Exited(exit),
            Payload::Output(data) if data.stream == Stream::Stderr => {
                self.hear(&data.into_bytes());
                Next::More
            }
            Payload::Output(data) => self.line(record.seq, data, batch),
        }
    }

    fn line(&mut self, number: u64, data: Data, batch: &mut Batch) -> Next {
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
            Ok(meanings) => self.act(number, meanings, batch),
            Err(reason) => Next::Nonsense(format!("line {number} of its output makes no sense: {reason}")),
        }
    }

    fn act(&mut self, line: u64, meanings: Vec<Meaning>, batch: &mut Batch) -> Next {
        let now = OffsetDateTime::now_utc();
        let mut next = Next::More;
        for meaning in meanings {
            match meaning {
                Meaning::Event(id, body) => {
                    batch.event(
                        Event {
                            id,
                            processed_at: Some(now),
                            body,
                        },
                        Some(line),
                    );
                }
                Meaning::Preview(preview) => batch.preview(preview),
                Meaning::Asks(request) => {
                    let sent = permission::answer(*request)
                        .to_line()
                        .ok()
                        .map(|line| self.runtime.send(line));
                    if !matches!(sent, Some(Ok(()))) {
                        return Next::Nonsense("it asks and does not read the answers".to_owned());
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

    /// Ends in the log what the runtime left open.
    pub(super) fn cut(&mut self, batch: &mut Batch) {
        for meaning in self.translator.cut() {
            if let Meaning::Event(id, body) = meaning {
                batch.event(
                    Event {
                        id,
                        processed_at: Some(OffsetDateTime::now_utc()),
                        body,
                    },
                    None,
                );
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
