//! The whole runtime against a scripted Messages API: frames in, frames out, requests seen.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod host;
mod server;
mod tools;

mod basics;
mod compaction;
mod control;
mod errors;
mod interrupts;
mod permissions;
mod reopen;
mod resume;
mod servers;
mod tool_calls;
mod toolbox;
mod web;
