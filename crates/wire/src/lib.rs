//! The Managed Agents wire types: events, content, previews and the error body, named exactly as the API names them.
//!
//! Reading never fails on what is not known here: an object of an unknown `type` is kept whole and written back as it
//! came ([`Unknown`]). A known type with wrong fields is an error, never an unknown one.

mod open;

pub mod content;
pub mod error;
pub mod event;
pub mod preview;
pub mod session;
pub mod usage;

pub use content::{ContentBlock, DocumentSource, ImageSource, Text};
pub use error::{ErrorBody, ErrorDetail, ErrorType};
pub use event::{Body, Confirmation, EvaluatedPermission, Evaluation, Event};
pub use open::Unknown;
pub use preview::{Delta, Preview, Started};
pub use session::{RetryStatus, SessionError, SessionErrorType, StopDetails, StopReason};
pub use usage::{Budget, CacheCreation, ModelUsage, Money, ServerToolUse, SessionUsage};
