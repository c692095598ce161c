//! Egress with real sockets on loopback: a resolver that knows what the test says, upstreams that the test runs.
#![allow(clippy::unwrap_used)]
#![allow(clippy::expect_used)]
// A skipped test says why.
#![allow(clippy::print_stdout)]

mod connect;
mod dns;
mod fixture;
mod forward;
mod limits;
mod transparent;
