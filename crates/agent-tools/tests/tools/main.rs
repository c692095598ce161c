//! The tools as the agent calls them, a file for each.

mod bash;
mod edit;
mod fixture;
mod glob;
mod grep;
mod input;
mod read;
mod write;
