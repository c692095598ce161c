//! Sessions that run: one owner task for each live session, between the store, its sandbox and its runtime.
//!
//! What comes in is stored before it is acted on; what comes out is stored before it is shown and before the guest may
//! forget it. Whatever a runtime, a guest or an agent does ends at worst its own session.

mod admit;
mod asks;
mod conclusion;
mod entries;
mod entry;
mod error;
mod events;
mod hub;
mod input;
mod left_behind;
mod network;
mod owner;
mod permission;
mod place;
mod readers;
mod reclaim;
mod record;
mod runtime;
mod sessions;
mod settings;
mod spares;
mod start;
mod summary;
mod tasks;
mod update;

pub use asks::AnswerError;
pub use error::{AccessError, BeginError, CleanupFailure, CreateError, SendError, StartError};
pub use events::{EventStream, Item, Told};
pub use input::Input;
pub use network::{Attachment, Grant, Network, NetworkError};
pub use readers::Readers;
pub use record::{rules, runtime};
pub use sessions::{Control, Idle, NewSession, Parts, Runtime};
pub use settings::{Bounds, Deadlines, Lifetime, RuntimeTemplate, Settings, Templates};
pub use store::LoggedEvent;
pub use summary::{Summary, active};
pub use translate::toolset::{CustomTool, Permission, Toolset};
pub use update::{Budgeting, Changed, Decide, Refused, Update};
