//! A process's output and a workspace's changes, as streams that check what the protocol promises.

use super::ClientError;
use super::connection::Answer;
use super::lines::Lines;
use crate::{Change, Data, MAX_DATA_BYTES, OutputRecord, Payload};
use std::time::Duration;

/// How long a guest may take for the next of the records that it already has.
const PATIENCE: Duration = Duration::from_secs(30);

/// More changes than this are not a change set that anyone can review.
const MAX_CHANGES: u64 = 1_000_000;

/// Output records without gaps, the exit last.
pub struct OutputStream {
    lines: Lines,
    next_seq: u64,
    follow: bool,
    exited: bool,
}

impl OutputStream {
    pub(super) fn new(answer: Answer, after: u64, follow: bool) -> Self {
        let patience = (!follow).then_some(PATIENCE);
        Self {
            lines: Lines::new(answer, patience),
            next_seq: after.saturating_add(1),
            follow,
            exited: false,
        }
    }

    /// The next record. Nothing after the exit and, unless the stream follows, after the last record that there is. A
    /// followed stream that ends before the exit is an error: ask again for what is after the last record. May be
    /// dropped while it waits.
    pub async fn next(&mut self) -> Result<Option<OutputRecord>, ClientError> {
        if self.exited {
            return Ok(None);
        }
        let call = self.lines.call();
        let Some(record) = self.lines.next::<OutputRecord>().await? else {
            return if self.follow {
                Err(ClientError::Truncated { call })
            } else {
                Ok(None)
            };
        };
        if record.seq != self.next_seq {
            return Err(ClientError::Gap {
                expected: self.next_seq,
                found: record.seq,
            });
        }
        self.next_seq = self.next_seq.saturating_add(1);
        match &record.payload {
            Payload::Exit(_) => self.exited = true,
            Payload::Output(data) => check_data(call, data)?,
        }
        Ok(Some(record))
    }
}

/// Changes, each with a path that stays below the workspace.
pub struct ChangeStream {
    lines: Lines,
    seen: u64,
}

impl ChangeStream {
    pub(super) fn new(answer: Answer) -> Self {
        Self {
            lines: Lines::new(answer, Some(PATIENCE)),
            seen: 0,
        }
    }

    /// The next change; nothing after the last.
    pub async fn next(&mut self) -> Result<Option<Change>, ClientError> {
        let call = self.lines.call();
        let Some(change) = self.lines.next::<Change>().await? else {
            return Ok(None);
        };
        self.seen += 1;
        if self.seen > MAX_CHANGES {
            return Err(ClientError::malformed(
                call,
                &format!("more than {MAX_CHANGES} changes"),
            ));
        }
        match change.path_bytes() {
            Some(path) if is_below(&path) => Ok(Some(change)),
            _ => Err(ClientError::malformed(
                call,
                "a change without a path below the workspace",
            )),
        }
    }
}

fn check_data(call: &'static str, data: &Data) -> Result<(), ClientError> {
    use base64::Engine as _;
    let length = match (&data.text, &data.base64) {
        (Some(text), None) => Some(text.len()),
        (None, Some(encoded)) => base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .ok()
            .map(|bytes| bytes.len()),
        _ => None,
    };
    match length {
        Some(length) if length <= MAX_DATA_BYTES => Ok(()),
        Some(_) => Err(ClientError::TooLarge {
            call,
            limit: MAX_DATA_BYTES as u64,
        }),
        None => Err(ClientError::malformed(call, "an output record without its bytes")),
    }
}

/// Relative, not empty, and without `.`, `..`, empty names and zero bytes.
fn is_below(path: &[u8]) -> bool {
    !path.contains(&0)
        && path
            .split(|byte| *byte == b'/')
            .all(|name| !name.is_empty() && name != b"." && name != b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_leave_the_workspace_is_refused() {
        for path in ["a", "a/b", ".git/hooks/x", "..a", "a..", "\u{e9}"] {
            assert!(is_below(path.as_bytes()), "{path} stays below");
        }
        for path in [
            "", "/", "/etc", "..", "a/..", "../a", "./a", "a//b", "a/", "a\0b", ".",
        ] {
            assert!(!is_below(path.as_bytes()), "{path} is refused");
        }
    }
}
