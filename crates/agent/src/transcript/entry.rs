//! One line of the chain. Field names and their order (`type` first) are what readers of transcripts look for.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stream_json::{ApiMessage, CompactMetadata, UserMessage};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub(crate) body: Body,
    pub(crate) uuid: String,
    pub(crate) parent_uuid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logical_parent_uuid: Option<String>,
    #[serde(default)]
    pub(crate) session_id: String,
    #[serde(default)]
    pub(crate) is_sidechain: bool,
    #[serde(default)]
    pub(crate) timestamp: String,
    #[serde(default)]
    pub(crate) cwd: String,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) git_branch: String,
    #[serde(default)]
    pub(crate) user_type: String,
    #[serde(default)]
    pub(crate) entrypoint: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Body {
    #[serde(rename_all = "camelCase")]
    User {
        message: UserMessage,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool_use_result: Option<Value>,
        #[serde(
            default,
            rename = "sourceToolAssistantUUID",
            skip_serializing_if = "Option::is_none"
        )]
        source: Option<String>,
        #[serde(default, skip_serializing_if = "is_false")]
        is_meta: bool,
        #[serde(default, skip_serializing_if = "is_false")]
        is_compact_summary: bool,
    },
    #[serde(rename_all = "camelCase")]
    Assistant {
        message: ApiMessage,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        #[serde(default, skip_serializing_if = "is_false")]
        is_api_error_message: bool,
    },
    #[serde(rename_all = "camelCase")]
    System {
        subtype: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compact_metadata: Option<CompactMetadata>,
    },
    /// Written by the official command line in between; it only holds the chain together.
    Attachment {},
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Body {
    pub(crate) fn user(message: UserMessage) -> Self {
        Self::User {
            message,
            tool_use_result: None,
            source: None,
            is_meta: false,
            is_compact_summary: false,
        }
    }
}
