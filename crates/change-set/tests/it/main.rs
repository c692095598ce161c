//! A change set from the report to the workspace: what is read of it, what is applied, and what no report, no user
//! and no kill can bring about.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop"
)]

mod applying;
mod attacks;
mod collecting;
mod conflicts;
mod crashes;
mod diffs;
mod overlay;
mod support;
