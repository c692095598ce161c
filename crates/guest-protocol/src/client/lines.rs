//! Newline-delimited JSON from a guest: no line longer than the protocol allows, none that trickles in for ever, and
//! none that is cut off by the end of the answer.

use super::ClientError;
use super::connection::Answer;
use crate::{ErrorBody, MAX_RECORD_BYTES};
use bytes::{Buf as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// From the first byte of a line to its last.
const LINE: Duration = Duration::from_mins(1);

pub(super) struct Lines {
    answer: Answer,
    piece: Bytes,
    line: BytesMut,
    /// When the line that has begun must be complete.
    due: Option<Instant>,
    /// How long the first byte of a line may take; nothing means for ever.
    patience: Option<Duration>,
}

impl Lines {
    pub(super) fn new(answer: Answer, patience: Option<Duration>) -> Self {
        Self {
            answer,
            piece: Bytes::new(),
            line: BytesMut::new(),
            due: None,
            patience,
        }
    }

    pub(super) fn call(&self) -> &'static str {
        self.answer.call()
    }

    /// The next line's value; nothing at the end of the answer. May be dropped while it waits: nothing is lost.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(line) = self.take_line()? {
                self.due = None;
                return self.parse(&line).map(Some);
            }
            match self.next_piece().await? {
                Some(piece) => {
                    if self.line.is_empty() {
                        self.due = None;
                    }
                    self.piece = piece;
                }
                None if self.line.is_empty() => return Ok(None),
                None => return Err(ClientError::Truncated { call: self.call() }),
            }
        }
    }

    /// A line that ends in the current piece. What does not end is kept beside it, and the piece is let go: a stream that
    /// waits, as most do, holds nothing.
    fn take_line(&mut self) -> Result<Option<Bytes>, ClientError> {
        let end = self.piece.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(self.piece.len());
        if self.line.len() + taken > MAX_RECORD_BYTES {
            return Err(ClientError::TooLarge {
                call: self.call(),
                limit: MAX_RECORD_BYTES as u64,
            });
        }
        if end.is_none() {
            self.line.extend_from_slice(&std::mem::take(&mut self.piece));
            return Ok(None);
        }
        let rest = self.piece.split_to(taken);
        self.piece.advance(1);
        if self.line.is_empty() {
            return Ok(Some(rest));
        }
        self.line.extend_from_slice(&rest);
        Ok(Some(std::mem::take(&mut self.line).freeze()))
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        let patience = if self.line.is_empty() {
            self.patience
        } else {
            Some(LINE)
        };
        let Some(patience) = patience else {
            return self.answer.next().await;
        };
        let due = *self.due.get_or_insert_with(|| Instant::now() + patience);
        let call = self.call();
        timeout_at(due, self.answer.next())
            .await
            .map_err(|_| ClientError::Deadline {
                call,
                after: patience,
            })?
    }

    /// A line is a value, or the error that the guest met after it had begun to answer.
    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line).map_err(|error| match serde_json::from_slice::<ErrorBody>(line) {
            Ok(body) => ClientError::refused(self.call(), &body.error),
            Err(_) => ClientError::malformed(self.call(), &error),
        })
    }
}
