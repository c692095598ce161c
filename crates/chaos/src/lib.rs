//! `hostler bench chaos`: a server under load that is killed again and again, and what must still be true.
//!
//! ```text
//! simulated model (in this process: it outlives every kill, and keeps a ledger of its own)
//!        ^
//! hostler serve <── killer: the server; with it the jailer, a runtime, a guest, or all of them at once
//!        ^
//! a writer and a reader for each session: what was acknowledged, what was shown
//! ```
//!
//! When the last kill is over and every session is idle, the log of each session, what its clients know, the lines that
//! its tools left in its sandbox, and the two ledgers of model calls are held against each other. Whatever does not fit
//! is a broken promise, and so is a run in which nothing was at work or nobody died; everything is kept to be looked at.

mod arguments;
mod check;
mod floors;
mod ledgers;
mod lines;
mod random;
mod reader;
mod run;
mod schedule;
mod script;
mod standing;
mod subject;
mod tally;
mod verdict;
mod writer;

pub use arguments::Arguments;
pub use run::{Outcome, Stopped, another_seed, chaos};
pub use verdict::Broken;
