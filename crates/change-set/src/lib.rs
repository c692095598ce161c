//! What an agent changed in its workspace: read from a hostile report, shown, and applied to the user's files.
//!
//! ```text
//!   Source (reader guest)  --collect-->  ChangeSet  --select-->  --apply-->  workspace
//!          entries, contents               against the live workspace           |  journal in the data directory
//!                                                                               v
//!                                                   kill at any moment --> recover: all of it, or nothing
//! ```
//!
//! Nothing but this crate writes to a workspace. It never follows a symlink there, never writes through a hard link,
//! never destroys what the user did meanwhile, and applies what could run the agent's code on the host only with a
//! permission of its own.

mod apply;
mod change_set;
mod class;
mod collect;
mod content;
mod diff;
mod disk;
mod error;
mod journal;
mod ledger;
pub mod limits;
mod path;
mod recover;
mod report;
mod rollback;
mod root;
mod source;
mod staging;
mod stamp;
mod step;

pub use apply::{Applied, Options, apply};
pub use change_set::{
    After, Allowed, ChangeSet, Class, Conflict, ConflictReason, Entry, Kind, Lines, Selection,
};
pub use collect::{View, collect};
pub use diff::unified;
pub use disk::Faults;
pub use error::{ApplyError, CollectError};
pub use journal::Unreadable;
pub use ledger::forget;
pub use path::{PathError, RelativePath, printable};
pub use recover::{Outcome, RecoverError, Recovered, recover, recover_with};
pub use report::{Refusals, Refused, RefusedReason};
pub use root::RootError;
pub use source::{GuestSource, Source, SourceError};
pub use stamp::{NodeKind, Stamp, Timestamp};
