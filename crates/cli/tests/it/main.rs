//! The command line as a whole, from the words that were typed to the exit code, with parts in place of the real ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop"
)]

mod calls;
mod config;
mod failures;
mod following;
mod keys;
mod runtimes;
mod scripted;
mod sessions;
mod support;
