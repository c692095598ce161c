//! Events of a session's log.

use crate::content::{ContentBlock, Text};
use crate::open::{Unknown, open_enum};
use crate::session::{SessionError, StopDetails, StopReason};
use crate::usage::{Budget, ModelUsage, SessionUsage};
use domain::EventId;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

/// An event as it is stored, listed and streamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    /// Null on a user's event while it is queued.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub processed_at: Option<OffsetDateTime>,
    #[serde(flatten)]
    pub body: Body,
}

/// An event with its place in its session's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    pub seq: u64,
    pub created_at: OffsetDateTime,
    pub event: Event,
}

/// What an event says; its `type` and the fields that go with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "type")]
pub enum Body {
    #[serde(rename = "user.message")]
    UserMessage { content: Vec<ContentBlock> },
    #[serde(rename = "user.interrupt")]
    UserInterrupt {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_thread_id: Option<String>,
    },
    #[serde(rename = "user.tool_confirmation")]
    UserToolConfirmation {
        /// The id of the `agent.tool_use` event.
        tool_use_id: EventId,
        result: Confirmation,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deny_message: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_thread_id: Option<String>,
    },
    #[serde(rename = "user.custom_tool_result")]
    UserCustomToolResult {
        /// The id of the `agent.custom_tool_use` event.
        custom_tool_use_id: EventId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Vec<ContentBlock>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_thread_id: Option<String>,
    },
    /// Context of the operator's, for the turn that it goes with and all that follow.
    #[serde(rename = "system.message")]
    SystemMessage { content: Vec<Text> },
    #[serde(rename = "agent.message")]
    AgentMessage { content: Vec<ContentBlock> },
    #[serde(rename = "agent.thinking")]
    AgentThinking,
    #[serde(rename = "agent.tool_use")]
    AgentToolUse {
        name: String,
        #[serde(default)]
        input: Map<String, Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evaluated_permission: Option<EvaluatedPermission>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evaluation: Option<Evaluation>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_thread_id: Option<String>,
    },
    #[serde(rename = "agent.tool_result")]
    AgentToolResult {
        /// The id of the `agent.tool_use` event.
        tool_use_id: EventId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Vec<ContentBlock>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
    },
    /// A call of a tool that the client plays.
    #[serde(rename = "agent.custom_tool_use")]
    AgentCustomToolUse {
        name: String,
        #[serde(default)]
        input: Map<String, Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_thread_id: Option<String>,
    },
    #[serde(rename = "agent.thread_context_compacted")]
    AgentThreadContextCompacted,
    #[serde(rename = "session.status_running")]
    SessionStatusRunning,
    #[serde(rename = "session.status_idle")]
    SessionStatusIdle {
        stop_reason: StopReason,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop_details: Option<StopDetails>,
    },
    #[serde(rename = "session.status_rescheduled")]
    SessionStatusRescheduled,
    #[serde(rename = "session.status_terminated")]
    SessionStatusTerminated,
    #[serde(rename = "session.usage")]
    SessionUsage {
        usage: SessionUsage,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Budget>,
    },
    #[serde(rename = "session.error")]
    SessionError { error: SessionError },
    /// What changed, as it is from now; `null` is what there is none of any more.
    #[serde(rename = "session.updated")]
    SessionUpdated {
        #[serde(
            default,
            deserialize_with = "present",
            skip_serializing_if = "Option::is_none"
        )]
        agent: Option<Value>,
        #[serde(
            default,
            deserialize_with = "present",
            skip_serializing_if = "Option::is_none"
        )]
        budget: Option<Value>,
        #[serde(
            default,
            deserialize_with = "present",
            skip_serializing_if = "Option::is_none"
        )]
        metadata: Option<Value>,
        #[serde(
            default,
            deserialize_with = "present",
            skip_serializing_if = "Option::is_none"
        )]
        title: Option<Value>,
    },
    /// The last event of a session that was deleted; only ever streamed.
    #[serde(rename = "session.deleted")]
    SessionDeleted,
    #[serde(rename = "span.model_request_start")]
    SpanModelRequestStart,
    #[serde(rename = "span.model_request_end")]
    SpanModelRequestEnd {
        model_request_start_id: EventId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
        model_usage: ModelUsage,
    },
    #[serde(skip)]
    Unknown(Unknown),
}

open_enum!(Body:
    "user.message", "user.interrupt", "user.tool_confirmation", "user.custom_tool_result", "system.message",
    "agent.message", "agent.thinking", "agent.tool_use", "agent.tool_result", "agent.custom_tool_use",
    "agent.thread_context_compacted",
    "session.status_running", "session.status_idle", "session.status_rescheduled", "session.status_terminated",
    "session.usage", "session.error", "session.updated", "session.deleted",
    "span.model_request_start", "span.model_request_end",
);

/// A field that is there, also where it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A user's answer to a call that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    Allow,
    Deny,
}

/// What the permission policy says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedPermission {
    Allow,
    /// The call waits for a `user.tool_confirmation`.
    Ask,
    /// The tool is not enabled.
    Deny,
}

/// Which policy said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Evaluation {
    AlwaysAllow,
    AlwaysAsk,
}

impl Event {
    /// A new event that is processed as it is written.
    pub fn new(body: Body, now: OffsetDateTime) -> Self {
        Self {
            id: EventId::random(),
            processed_at: Some(now),
            body,
        }
    }

    /// A new event of a user that waits to be acted on.
    pub fn queued(body: Body) -> Self {
        Self {
            id: EventId::random(),
            processed_at: None,
            body,
        }
    }
}

impl Body {
    /// The value of `type`.
    pub fn kind(&self) -> &str {
        match self {
            Self::UserMessage { .. } => "user.message",
            Self::UserInterrupt { .. } => "user.interrupt",
            Self::UserToolConfirmation { .. } => "user.tool_confirmation",
            Self::UserCustomToolResult { .. } => "user.custom_tool_result",
            Self::SystemMessage { .. } => "system.message",
            Self::AgentMessage { .. } => "agent.message",
            Self::AgentThinking => "agent.thinking",
            Self::AgentToolUse { .. } => "agent.tool_use",
            Self::AgentToolResult { .. } => "agent.tool_result",
            Self::AgentCustomToolUse { .. } => "agent.custom_tool_use",
            Self::AgentThreadContextCompacted => "agent.thread_context_compacted",
            Self::SessionStatusRunning => "session.status_running",
            Self::SessionStatusIdle { .. } => "session.status_idle",
            Self::SessionStatusRescheduled => "session.status_rescheduled",
            Self::SessionStatusTerminated => "session.status_terminated",
            Self::SessionUsage { .. } => "session.usage",
            Self::SessionError { .. } => "session.error",
            Self::SessionUpdated { .. } => "session.updated",
            Self::SessionDeleted => "session.deleted",
            Self::SpanModelRequestStart => "span.model_request_start",
            Self::SpanModelRequestEnd { .. } => "span.model_request_end",
            Self::Unknown(unknown) => unknown.kind(),
        }
    }
}
