//! The gateway over real sockets: a sandbox's client on one side, the simulated model or a hostile upstream on the other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod budgets;
mod cuts;
mod harness;
mod keys;
mod limits;
mod passing;
mod retries;
