//! The native backend: sandboxes of Linux namespaces on this machine, built by the jailer.
//!
//! This side is unprivileged and asynchronous; it starts the jailer, sends it specs, and gets descriptors back.

mod backend;
mod jailer_process;
mod listeners;

pub use backend::{LinuxBackend, Options, StartError};
