//! The jailer: the only privileged program. It builds sandboxes of Linux namespaces, takes them down, and does nothing
//! else: it is synchronous, has one thread and one client, and reads nothing that an agent wrote.
//!
//! Each kernel mechanism has a file; [`plan`] is the order in which they are used. The other half of this crate is the
//! [`shell`], the program that becomes process 1 of a sandbox.

// What is asked, and in which order it is done.
pub mod protocol;
pub mod channel;
mod request;
mod error;
mod plan;
mod machine;

// The jailer.
mod server;
mod workshop;
mod rooms;
mod registry;
mod reclaim;
mod shells;
mod claim;
mod cgroup;
mod disk;
mod identity;
mod overlay;

// The shell.
pub mod shell;
mod root;
mod proc_files;
mod devices;
mod network;
mod capabilities;
mod landlock;
mod seccomp;

mod mounts;
mod sys;

pub use error::StepError;
pub use server::{JailerError, main};
