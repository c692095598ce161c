//! Calls of the Messages API: one request, one streamed reply, retried as a whole where that is safe.

mod assemble;
mod client;
mod request;
mod retry;
mod sse;

pub(crate) use assemble::{Finished, Reply, Step};
pub(crate) use client::{BadHeader, Client};
pub(crate) use request::{CallHeaders, Request, Thinking, ToolDefinition, cache_control, random_fraction};
pub(crate) use retry::Retries;

use std::time::Duration;

/// Why a call gave no complete reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The API answered with an error, by status or in the stream.
    #[error("{message}")]
    Api {
        status: Option<u16>,
        kind: String,
        message: String,
        retry_after: Option<Duration>,
    },
    /// No answer: no connection, or none in time.
    #[error("{message}")]
    Connection { message: String, may_pass: bool },
    #[error("the connection was lost in the middle of the reply: {message}")]
    Dropped { message: String },
    #[error("the reply stream was silent for {} s", after.as_secs())]
    Silent { after: Duration },
    #[error("the reply stream is malformed: {message}")]
    Malformed { message: String },
    #[error("the reply stream is larger than {limit} bytes")]
    Endless { limit: usize },
    #[error("the reply stream did not end within {} s", limit.as_secs())]
    TooLong { limit: Duration },
    #[error("interrupted")]
    Interrupted,
}

impl CallError {
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => *status,
            _ => None,
        }
    }

    /// The class the protocol names in `assistant.error` and `api_retry.error`.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Api {
                status,
                kind,
                message,
                ..
            } => match (status, kind.as_str()) {
                (Some(401 | 403), _) | (_, "authentication_error" | "permission_error") => {
                    "authentication_failed"
                }
                (Some(402), _) | (_, "billing_error") => "billing_error",
                (Some(400), _) if message.contains("credit balance") => "billing_error",
                (Some(404), _) | (_, "not_found_error") => "model_not_found",
                (Some(429), _) | (_, "rate_limit_error") => "rate_limit",
                (Some(529), _) | (_, "overloaded_error") => "overloaded",
                (Some(500..), _) | (_, "api_error") => "server_error",
                (_, "invalid_request_error") => "invalid_request",
                _ => "unknown",
            },
            Self::Connection { .. } | Self::Dropped { .. } | Self::Silent { .. } => "server_error",
            _ => "unknown",
        }
    }

    /// For the model's window, or in bytes for the API: a shorter conversation may do.
    pub(crate) fn is_prompt_too_long(&self) -> bool {
        matches!(self, Self::Api { status, kind, message, .. }
            if *status == Some(413) || kind == "request_too_large"
                || message.contains("prompt is too long") || message.contains("exceed context limit"))
    }

    /// A file of the request cannot be taken: an image that is none, say.
    pub(crate) fn is_refused_file(&self) -> bool {
        let Self::Api { message, .. } = self else {
            return false;
        };
        let message = message.to_ascii_lowercase();
        let names_one = ["image", "document", "pdf", "media", "base64"]
            .iter()
            .any(|word| message.contains(word));
        names_one
            && matches!(self.status(), Some(400 | 422))
            && self.class() == "invalid_request"
            && !self.is_prompt_too_long()
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Api {
                status: Some(status), ..
            } => matches!(status, 408 | 409 | 429 | 500..),
            Self::Api {
                status: None, kind, ..
            } => {
                matches!(
                    kind.as_str(),
                    "overloaded_error" | "api_error" | "rate_limit_error" | "timeout_error"
                )
            }
            Self::Connection { may_pass, .. } => *may_pass,
            Self::Dropped { .. } | Self::Silent { .. } => true,
            Self::Malformed { .. } | Self::Endless { .. } | Self::TooLong { .. } | Self::Interrupted => false,
        }
    }

    /// What the user is told.
    pub(crate) fn report(&self) -> String {
        match self {
            Self::Api {
                status: Some(401),
                message,
                ..
            } => {
                format!("Failed to authenticate. API Error: 401 {message}")
            }
            Self::Api {
                status: Some(429),
                message,
                ..
            } => {
                format!("API Error: Request rejected (429) · {message}")
            }
            Self::Api {
                status: Some(status @ 500..),
                message,
                ..
            } => format!(
                "API Error: {status} {message}. This is a server-side issue, usually temporary — try again in a moment."
            ),
            Self::Api {
                status: Some(status),
                message,
                ..
            } => format!("API Error: {status} {message}"),
            Self::Api {
                status: None,
                kind,
                message,
                ..
            } => format!("API Error: {kind}: {message}"),
            Self::Connection { message, .. } => format!("API Error: Unable to connect to API ({message})"),
            other => format!("API Error: {other}"),
        }
    }
}
