//! The guest, as a process of its own, through the host's client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where it fails"
)]
#![allow(clippy::print_stderr, reason = "a test that cannot run here says why")]

mod alone;
mod changes;
mod connections;
mod files;
mod input;
mod output;
mod process_one;
mod processes;
mod terminal;
