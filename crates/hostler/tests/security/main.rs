//! Each promise of `docs/security.md`, attacked from inside a real sandbox of this machine.
//!
//! A test is named as the promise says. Where a promise does not hold for an ordinary user, the test asserts that the
//! backend's report says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod applying;
mod calls;
mod enforcement;
mod exhaustion;
mod files_of_the_host;
mod host_processes;
mod kernel;
mod keys;
mod left;
mod left_behind;
mod names;
mod network;
mod other_sandboxes;
mod place;
mod product;
mod service;
#[path = "../service/place.rs"]
#[expect(dead_code, reason = "what the tests of the service need besides")]
mod service_place;
