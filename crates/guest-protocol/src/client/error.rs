//! Why a call to a guest failed. Text that comes from the guest is bounded and free of control characters, so that it
//! can be shown on a terminal.

use crate::ErrorKind;
use crate::error::ErrorDetail;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The longest message of a guest that is passed on, in characters.
const MAX_MESSAGE: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to the guest at {}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("{call}: the guest did not answer within {after:?}")]
    Deadline { call: &'static str, after: Duration },
    #[error("{call}: the connection to the guest failed")]
    Connection {
        call: &'static str,
        source: hyper::Error,
    },
    /// The guest's own answer that it cannot or will not do it.
    #[error("{call}: {message}")]
    Refused {
        call: &'static str,
        kind: ErrorKind,
        message: String,
    },
    #[error("{call}: the guest sent more than {limit} bytes")]
    TooLarge { call: &'static str, limit: u64 },
    #[error("{call}: the guest's answer is malformed: {reason}")]
    Malformed { call: &'static str, reason: String },
    #[error("{call}: the guest's answer ends too early")]
    Truncated { call: &'static str },
    #[error("output record {expected} was due and {found} came")]
    Gap { expected: u64, found: u64 },
    #[error("the guest speaks protocol version {guest}, this host {host}")]
    Version { guest: u32, host: u32 },
    #[error("{call}: writing what the guest sent failed")]
    Write { call: &'static str, source: io::Error },
}

impl ClientError {
    pub(crate) fn refused(call: &'static str, detail: &ErrorDetail) -> Self {
        let message = detail.message.chars().take(MAX_MESSAGE);
        let message = message.map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        });
        Self::Refused {
            call,
            kind: detail.kind,
            message: message.collect(),
        }
    }

    pub(crate) fn malformed(call: &'static str, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Malformed {
            call,
            reason: reason.to_string(),
        }
    }

    /// The kind of a refusal; nothing for any other error.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Refused { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// Whether the same call may succeed later: the guest was not reached or did not answer in time, and answered
    /// nothing that was wrong.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Deadline { .. } | Self::Connection { .. } | Self::Truncated { .. }
        )
    }

    /// Whether the guest's socket is not there, or its listener was closed before it answered.
    pub(crate) fn means_not_there_yet(&self) -> bool {
        match self {
            Self::Connect { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) || source.raw_os_error() == Some(EAGAIN)
            }
            _ => false,
        }
    }
}

/// A Unix socket whose backlog is full.
const EAGAIN: i32 = 11;
