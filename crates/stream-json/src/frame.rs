//! A frame: one JSON object on one line, told apart by `type`. What is not known is kept byte for byte.

use crate::limit::{MAX_DEPTH, depth_is_allowed};
use crate::{Assistant, CancelRequest, ControlRequest, ControlResponse, System, TurnResult, User};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Any frame, in either direction.
#[derive(Debug, Clone)]
pub enum Frame {
    User(Box<User>),
    Assistant(Box<Assistant>),
    Result(Box<TurnResult>),
    System(Box<System>),
    StreamEvent(Box<StreamEvent>),
    ControlRequest(Box<ControlRequest>),
    ControlResponse(Box<ControlResponse>),
    ControlCancelRequest(CancelRequest),
    CommandLifecycle(CommandLifecycle),
    KeepAlive,
    Unknown(Unknown),
}

/// A raw event of the Messages API's stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamEvent {
    pub event: Value,
    #[serde(default)]
    pub parent_tool_use_id: Option<String>,
    #[serde(default)]
    pub session_id: String,
    #[serde(default)]
    pub uuid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<u64>,
}

/// What became of a user line that carried a uuid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLifecycle {
    pub command_uuid: String,
    /// `queued`, `started`, `completed`, `cancelled` or `refused`.
    pub state: String,
    #[serde(default)]
    pub session_id: String,
    #[serde(default)]
    pub uuid: String,
}

/// A frame of a type this crate does not know.
#[derive(Debug, Clone)]
pub struct Unknown {
    pub kind: String,
    pub json: Box<RawValue>,
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the line is not JSON")]
    NotJson { source: serde_json::Error },
    #[error("the line is not a JSON object with a string `type`")]
    NotAFrame,
    #[error("the line nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("malformed `{kind}` frame")]
    Malformed { kind: String, source: serde_json::Error },
    #[error("the frame cannot be written as JSON")]
    Unwritable { source: serde_json::Error },
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum KnownRef<'a> {
    User(&'a User),
    Assistant(&'a Assistant),
    Result(&'a TurnResult),
    System(&'a System),
    StreamEvent(&'a StreamEvent),
    ControlRequest(&'a ControlRequest),
    ControlResponse(&'a ControlResponse),
    ControlCancelRequest(&'a CancelRequest),
    CommandLifecycle(&'a CommandLifecycle),
    KeepAlive,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Known {
    User(Box<User>),
    Assistant(Box<Assistant>),
    Result(Box<TurnResult>),
    System(Box<System>),
    StreamEvent(Box<StreamEvent>),
    ControlRequest(Box<ControlRequest>),
    ControlResponse(Box<ControlResponse>),
    ControlCancelRequest(CancelRequest),
    CommandLifecycle(CommandLifecycle),
}

const KNOWN: [&str; 9] = [
    "user",
    "assistant",
    "result",
    "system",
    "stream_event",
    "control_request",
    "control_response",
    "control_cancel_request",
    "command_lifecycle",
];

impl Frame {
    /// Reads one line, without its line end. The caller has limited its length.
    pub fn parse(line: &[u8]) -> Result<Self, FrameError> {
        if !depth_is_allowed(line) {
            return Err(FrameError::TooDeep);
        }
        let head = match serde_json::from_slice::<Head<'_>>(line) {
            Ok(head) => head,
            Err(source) if source.is_data() => return Err(FrameError::NotAFrame),
            Err(source) => return Err(FrameError::NotJson { source }),
        };
        if head.kind == "keep_alive" {
            return Ok(Self::KeepAlive);
        }
        if !KNOWN.contains(&&*head.kind) {
            let json = serde_json::from_slice(line).map_err(|source| FrameError::NotJson { source })?;
            return Ok(Self::Unknown(Unknown {
                kind: head.kind.into_owned(),
                json,
            }));
        }
        let known = serde_json::from_slice(line).map_err(|source| FrameError::Malformed {
            kind: head.kind.into_owned(),
            source,
        })?;
        Ok(match known {
            Known::User(frame) => Self::User(frame),
            Known::Assistant(frame) => Self::Assistant(frame),
            Known::Result(frame) => Self::Result(frame),
            Known::System(frame) => Self::System(frame),
            Known::StreamEvent(frame) => Self::StreamEvent(frame),
            Known::ControlRequest(frame) => Self::ControlRequest(frame),
            Known::ControlResponse(frame) => Self::ControlResponse(frame),
            Known::ControlCancelRequest(frame) => Self::ControlCancelRequest(frame),
            Known::CommandLifecycle(frame) => Self::CommandLifecycle(frame),
        })
    }

    /// Compact JSON with `type` first and a line end.
    pub fn to_line(&self) -> Result<Vec<u8>, FrameError> {
        let mut line = serde_json::to_vec(self).map_err(|source| FrameError::Unwritable { source })?;
        line.push(b'\n');
        Ok(line)
    }
}

impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::User(frame) => KnownRef::User(frame),
            Self::Assistant(frame) => KnownRef::Assistant(frame),
            Self::Result(frame) => KnownRef::Result(frame),
            Self::System(frame) => KnownRef::System(frame),
            Self::StreamEvent(frame) => KnownRef::StreamEvent(frame),
            Self::ControlRequest(frame) => KnownRef::ControlRequest(frame),
            Self::ControlResponse(frame) => KnownRef::ControlResponse(frame),
            Self::ControlCancelRequest(frame) => KnownRef::ControlCancelRequest(frame),
            Self::CommandLifecycle(frame) => KnownRef::CommandLifecycle(frame),
            Self::KeepAlive => KnownRef::KeepAlive,
            Self::Unknown(unknown) => return unknown.json.serialize(serializer),
        }
        .serialize(serializer)
    }
}
