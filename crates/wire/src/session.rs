//! Why a session stopped, and what went wrong in it.

use crate::open::{Unknown, open_enum};
use domain::EventId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Why a session is idle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    EndTurn,
    /// These events wait for an answer of the client.
    RequiresAction {
        event_ids: Vec<EventId>,
    },
    RetriesExhausted,
    BudgetReached,
    Refusal,
    #[serde(skip)]
    Unknown(Unknown),
}

open_enum!(StopReason: "end_turn", "requires_action", "retries_exhausted", "budget_reached", "refusal");

impl StopReason {
    /// Its `type`.
    pub fn kind(&self) -> &str {
        match self {
            Self::EndTurn => "end_turn",
            Self::RequiresAction { .. } => "requires_action",
            Self::RetriesExhausted => "retries_exhausted",
            Self::BudgetReached => "budget_reached",
            Self::Refusal => "refusal",
            Self::Unknown(unknown) => unknown.kind(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "refusal")]
pub struct StopDetails {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// What a `session.error` carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionError {
    #[serde(rename = "type")]
    pub kind: SessionErrorType,
    pub message: String,
    pub retry_status: RetryStatus,
    /// `mcp_server_name`, `credential_id` and what else a type brings.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl SessionError {
    pub fn new(kind: SessionErrorType, message: impl Into<String>, retry_status: RetryStatus) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_status,
            details: Map::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionErrorType {
    UnknownError,
    ModelOverloadedError,
    ModelRateLimitedError,
    ModelRequestFailedError,
    McpConnectionFailedError,
    McpAuthenticationFailedError,
    BillingError,
    CredentialHostUnreachableError,
    ToolUseLimitReachedError,
    CompactionLimitReachedError,
    RepositoryAuthenticationError,
    RepositoryForbiddenError,
    RepositoryNotFoundError,
    RepositoryCheckoutError,
    RepositoryCloneError,
    #[serde(untagged)]
    Unknown(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RetryStatus {
    /// It is tried again without the client's doing.
    Retrying,
    /// It was tried again as often as allowed.
    Exhausted,
    /// Trying again does not help.
    Terminal,
}
