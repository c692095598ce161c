//! Why a server could not be asked, or what it refused.

use outbound::RequestError;
use std::time::Duration;

/// How the server is called cannot be right.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("{url:?} is not the URL of a server: use one like http://127.0.0.1:8700")]
    Url { url: String },
    #[error("the URL of a server takes no user, password or query: use one like http://127.0.0.1:8700")]
    Besides,
    #[error(
        "the API key holds characters that no key has: it is visible ASCII, without spaces and line ends"
    )]
    Key,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the request cannot be made: {reason}")]
    Request { reason: String },
    #[error("the server cannot be reached")]
    Unreachable(#[from] RequestError),
    #[error("{message}")]
    Refused {
        status: u16,
        message: String,
        /// A word for programs.
        code: Option<String>,
        request_id: Option<String>,
    },
    #[error("what answers there is no hostler: {what}, with HTTP status {status}")]
    NotOurs { status: u16, what: &'static str },
    #[error("the server's answer cannot be read: {reason}")]
    Answer { reason: String },
    #[error("the server cut its answer")]
    Cut,
    #[error("the server began to answer and did not go on for {after:?}")]
    Silent { after: Duration },
    /// In the server's own words.
    #[error("the server ended the stream: {message}")]
    Stream { message: String },
}

impl ClientError {
    /// Whether the same request may be answered a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(error) => error.may_pass(),
            Self::Refused { status, .. } | Self::NotOurs { status, .. } => {
                matches!(status, 408 | 429 | 500..)
            }
            Self::Cut | Self::Silent { .. } | Self::Stream { .. } => true,
            Self::Request { .. } | Self::Answer { .. } => false,
        }
    }

    /// Whether the server may have acted on the request, and its answer is what was lost.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Unreachable(error) => !error.nothing_was_sent(),
            Self::Cut | Self::Silent { .. } | Self::Answer { .. } => true,
            _ => false,
        }
    }

    /// Whether the server has answered with this status.
    pub fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }
}
