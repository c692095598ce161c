//! Installing from registries on loopback: what honest ones have, and what broken and hostile ones do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "installing/files.rs"]
mod files;
#[path = "installing/hostile.rs"]
mod hostile;
#[path = "installing/interrupted.rs"]
mod interrupted;
#[path = "installing/lifecycle.rs"]
mod lifecycle;
#[path = "installing/refusals.rs"]
mod refusals;
#[path = "installing/registry.rs"]
mod registry;
