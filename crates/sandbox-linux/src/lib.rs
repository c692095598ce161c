//! The native backend: sandboxes of Linux namespaces on this machine, built by the jailer.
//!
//! This side is unprivileged and asynchronous; it starts the jailer or finds it, sends it specs, and gets descriptors
//! back.

mod backend;
mod child;
mod conversation;
mod listeners;
mod privileges;
mod service;

pub use backend::{LinuxBackend, Options, StartError};
pub use jailer::User;
pub use privileges::{PrivilegeError, give_up_root, hand_over, server_user};
