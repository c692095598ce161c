//! The jailer: the only privileged program. It builds sandboxes of Linux namespaces, takes them down, and does nothing
//! else: it is synchronous, has one thread and one client, and reads nothing that an agent wrote.
//!
//! As a [child](main) its sandboxes end with it; as a [service] they go on, whoever is killed, and the next jailer
//! [adopts](mod@adopt) them.
//!
//! Each kernel mechanism has a file; [`plan`] is the order in which they are used. The other half of this crate is the
//! [`shell`], the program that becomes process 1 of a sandbox.

// What is asked, and in which order it is done.
mod error;
mod machine;
mod plan;
pub mod protocol;
mod request;

// The jailer.
mod adopt;
mod cgroup;
mod claim;
mod disk;
mod identity;
mod listeners;
mod overlay;
mod reclaim;
mod record;
mod registry;
mod rooms;
mod server;
pub mod service;
mod shells;
pub mod supervisor;
mod user;
mod workshop;

// The shell.
mod capabilities;
mod devices;
mod landlock;
mod network;
mod proc_files;
mod root;
mod seccomp;
pub mod shell;

mod mounts;
mod sys;

pub use error::StepError;
pub use request::raise_descriptor_limit;
pub use server::{JailerError, main};
pub use user::User;
