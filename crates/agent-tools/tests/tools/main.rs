//! The tools as the agent calls them, a file for each.

mod bash;
mod fixture;
