//! Process 1 of every sandbox: reaps, starts the agent's programs, keeps their output until the host has it, and serves
//! the guest API of [`guest_protocol`] on a Unix socket.
//!
//! It is one thread with little memory, trusts the host that connects, and nothing that the agent does. Its host may
//! go away and come back at any time: nothing here depends on a connection. The same program, as a reader, shows what
//! a dead sandbox's agent left behind.
//!
//! ```text
//!  signals --> server --> reaper --> processes: started, fed, numbered
//!                 |                      | output: kept in memory, then in the outbox, until acknowledged
//!  connections ---+--> api --------------+
//!                       |--> files: by the agent's own rights
//!                       '--> changes: a reader's walk
//! ```

mod agent_user;
mod api;
mod changes;
mod config;
mod files;
mod output;
mod processes;
mod refusal;
mod server;
mod stats;
mod sys;

pub use config::Config;
pub use server::{Error, run};
