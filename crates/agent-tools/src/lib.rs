//! The tools of the native agent runtime: a persistent shell, files, and search.
//!
//! The caller shows [`Toolbox::definitions`] to the model and hands each `tool_use` to [`Toolbox::call`], which always
//! answers with an [`Outcome`]: what a model asked for wrongly is an outcome it can read, never an error of ours.
//! Names, schemas and result shapes are those of the Agent SDK's process protocol. Nothing here decides what is
//! allowed: permissions are the caller's, containment is the sandbox's.

mod bash;
mod definition;
mod edit;
mod glob;
mod grep;
mod input;
mod memory;
mod outcome;
mod patch;
mod place;
mod read;
mod replace;
mod search;
mod settings;
mod shell;
mod toolbox;
mod write;

pub use definition::{Concurrency, Definition, Kind};
pub use input::misfit;
pub use outcome::Outcome;
pub use settings::Settings;
pub use toolbox::Toolbox;
