//! `system` frames. A subtype that is not named here is kept with all its keys.

use crate::Extra;
use serde::{Deserialize, Serialize};

/// A system frame: what happened, in which session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct System {
    #[serde(flatten)]
    pub event: SystemEvent,
    #[serde(default)]
    pub session_id: String,
    #[serde(default)]
    pub uuid: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub enum SystemEvent {
    /// Sent at the start of every turn, not only the first.
    Init(Box<Init>),
    Status {
        /// `requesting`, `compacting`, or null.
        status: Option<String>,
        #[serde(default, rename = "permissionMode", skip_serializing_if = "Option::is_none")]
        permission_mode: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compact_result: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compact_error: Option<String>,
    },
    SessionStateChanged {
        /// `idle`, `running` or `requires_action`.
        state: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sdk_host_only: Option<bool>,
    },
    ApiRetry(ApiRetry),
    CompactBoundary(CompactBoundary),
    PermissionDenied {
        tool_name: String,
        tool_use_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision_reason_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision_reason: Option<String>,
        message: String,
    },
    /// Any other subtype, its `subtype` key included.
    #[serde(untagged)]
    Other(Extra),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Init {
    pub cwd: String,
    pub tools: Vec<String>,
    pub mcp_servers: Vec<McpServer>,
    pub model: String,
    #[serde(rename = "permissionMode")]
    pub permission_mode: String,
    pub slash_commands: Vec<String>,
    #[serde(rename = "apiKeySource")]
    pub api_key_source: String,
    pub claude_code_version: String,
    pub output_style: String,
    pub agents: Vec<String>,
    pub skills: Vec<String>,
    pub capabilities: Vec<String>,
    #[serde(flatten)]
    pub extra: Extra,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpServer {
    pub name: String,
    #[serde(default)]
    pub status: String,
    #[serde(flatten)]
    pub extra: Extra,
}

/// A model call that failed and will be tried again after `retry_delay_ms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiRetry {
    pub attempt: u32,
    pub max_retries: u32,
    pub retry_delay_ms: u64,
    /// The HTTP status; null when there was no answer.
    pub error_status: Option<u16>,
    pub error: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompactBoundary {
    pub compact_metadata: CompactMetadata,
    #[serde(flatten)]
    pub extra: Extra,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompactMetadata {
    /// `manual` or `auto`.
    pub trigger: String,
    pub pre_tokens: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    #[serde(flatten)]
    pub extra: Extra,
}
