//! Sandboxes that outlive the server, the jailer, or both: the backend of `hostler serve`, with real processes that are
//! killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod files;
mod handover;
mod killed;
#[path = "../security/left.rs"]
mod left;
mod logs;
mod output;
mod place;
mod readiness;
mod searching;
mod served;
mod servers;
mod serving;
mod traces;
