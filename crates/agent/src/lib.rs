//! The native agent runtime: a model, tools, and a conversation, behind the Agent SDK's process protocol.
//!
//! One process is one session. One task owns it: a turn and the control requests that arrive meanwhile take turns on
//! one thread, so nothing is locked. What is shown was written to the transcript before; what a model asked to run has
//! a result, whatever happened in between.

mod account;
mod arguments;
mod aside;
mod clock;
mod commands;
mod compaction;
mod control;
mod conversation;
mod environment;
mod model;
mod output;
mod process;
mod prompt;
mod questions;
mod reopen;
mod run;
mod servers;
mod session;
mod settings;
mod start;
mod tools;
mod transcript;
mod turn;
mod web;

pub use arguments::{ArgumentError, Arguments};
pub use environment::Environment;
pub use process::main;
pub use run::{Exit, Signal, serve};
pub use start::Setup;
pub use tools::Tools;
