//! `hostler bench`: how fast and how large we are, beside the alternatives that are installed, in one run.
//!
//! Everything is measured through the ports that the product itself uses, so that a number means what a user gets. What
//! needs the whole stack (a session, the gateway) comes in as a closure from the binary. Peers do the same work as
//! far as they can, and take turns with ours, so that the machine's noise hits all alike. A goal that is not reached is
//! said, never hidden; nothing here asserts a time.

mod candidate;
mod density;
mod failure;
mod goal;
mod machine;
mod memory;
mod options;
mod peers;
mod report;
mod rounds;
mod runtime;
mod sandboxes;
mod serve;
mod stack;
mod statistics;

pub use density::Held;
pub use failure::Failure;
pub use goal::{Figure, Goal};
pub use options::{Options, Part, ServeOptions, What, json_path};
pub use report::{Amount, Report, Unit};
pub use runtime::{Program, runtime};
pub use sandboxes::{Contender, sandbox};
pub use serve::serve;
pub use stack::{IdleSessions, gateway, session};
