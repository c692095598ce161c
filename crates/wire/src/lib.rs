//! The Managed Agents wire types: resources, events, content, previews and the error body, named exactly as the API
//! names them.
//!
//! What a client asks for is strict: a field that is not known is refused by its name ([`Input`]). What is stored or
//! comes from elsewhere is open: an object of an unknown `type` is kept whole and written back as it came
//! ([`Unknown`]). A known type with wrong fields is an error, never an unknown one.

mod invalid;
mod open;

pub mod agents;
pub mod content;
pub mod environments;
pub mod error;
pub mod event;
pub mod event_input;
pub mod event_list;
pub mod input;
pub mod keys;
pub mod metadata;
pub mod models;
pub mod page;
pub mod patch;
pub mod preview;
pub mod schema;
pub mod session;
pub mod sessions;
pub mod usage;
pub mod workspaces;

pub use content::{ContentBlock, DocumentSource, ImageSource, Text};
pub use error::{ErrorBody, ErrorDetail, ErrorType};
pub use event::{Body, Confirmation, EvaluatedPermission, Evaluation, Event, LoggedEvent};
pub use input::Input;
pub use invalid::Invalid;
pub use metadata::{Metadata, MetadataPatch};
pub use open::Unknown;
pub use page::{Page, Slice};
pub use patch::Patch;
pub use preview::{Delta, Preview, Started};
pub use session::{RetryStatus, SessionError, SessionErrorType, StopDetails, StopReason};
pub use usage::{Budget, CacheCreation, ModelUsage, Money, ServerToolUse, SessionUsage};
