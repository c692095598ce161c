//! Sessions from their first message to their end, with a guest that plays a scripted runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod approvals;
mod disk_full;
mod endings;
mod failures;
mod guest;
mod hosting;
mod machine;
mod outliving;
mod restarts;
mod runtime;
mod service;
mod spares;
mod stage;
mod streams;
mod turns;
