//! What goes wrong outside hostler, end to end: each failure ends with a clear word, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod interrupts;
mod model;
#[path = "../security/product.rs"]
#[allow(dead_code, reason = "shared with the attacks, which use all of it")]
mod product;
mod tools;
