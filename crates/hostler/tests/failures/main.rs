//! What goes wrong outside hostler, end to end: each failure ends with a clear word, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod interrupts;
mod model;
#[path = "../attack/product.rs"]
mod product;
mod tools;
