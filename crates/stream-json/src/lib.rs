//! The Agent SDK's process protocol: newline-delimited JSON frames between a host and an agent runtime.
//!
//! Everything a peer sends is hostile: lines have a size limit, JSON has a depth limit, what is not known is kept
//! as it came and never guessed at. Field names are those seen on the wire between the official command line
//! 2.1.330 and the SDKs.

mod codec;
mod content;
mod control;
mod frame;
mod limit;
mod result;
mod system;
mod usage;

pub use codec::{Codec, CodecError, DEFAULT_MAX_LINE};
pub use content::{ApiMessage, Assistant, Block, Content, Role, User, UserMessage};
pub use control::{
    Answer, CanUseTool, CancelRequest, ControlRequest, ControlResponse, Initialize, PermissionAnswer,
    PermissionRule, PermissionUpdate, Request,
};
pub use frame::{CommandLifecycle, Frame, FrameError, StreamEvent, Unknown};
pub use limit::MAX_DEPTH;
pub use result::{ModelUsage, PermissionDenial, TurnResult};
pub use system::{ApiRetry, CompactBoundary, CompactMetadata, Init, McpServer, System, SystemEvent};
pub use usage::{CacheCreation, Usage};

/// Keys this crate does not name, kept so that a frame survives a round trip.
pub type Extra = serde_json::Map<String, serde_json::Value>;
