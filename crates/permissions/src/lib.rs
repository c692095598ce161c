//! Whether a tool call of the native runtime may run, must be asked about, or is refused. Pure but for looking where
//! symbolic links lead.
//!
//! Order: deny rules, ask rules, mode, allow rules, what is harmless by itself, ask. A rule that cannot be
//! understood never allows anything.

mod command;
mod decide;
mod path;
mod rule;

pub use decide::{Call, Decision, Mode, Permissions};
pub use path::Directories;
pub use rule::{Rule, split_rules};
