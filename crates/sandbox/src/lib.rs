//! The port to sandboxes: what every backend can do, and nothing that only one of them can.
//!
//! A backend makes, watches, freezes and destroys sandboxes. Processes, files and terminals go through the guest API
//! ([`guest_protocol::Client`]), so that all backends share one implementation.

pub mod backend;
pub mod enforcement;
pub mod error;
pub mod spec;

pub use backend::{Backend, ChangeReader, Created, Listeners, Observation};
pub use enforcement::{Aspect, Enforcement, Report};
pub use error::Error;
pub use spec::{Runtime, Spec, Workspace};
