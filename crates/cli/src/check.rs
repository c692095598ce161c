//! Checks of what the user asked for, before anything is started: a wrong call costs nothing and says what to do.

mod data;
mod model;
mod prompt;
mod upstream;
mod workspace;

pub(crate) use data::{data_directory, place_for_data};
pub(crate) use model::check_model;
pub(crate) use prompt::{MAX_PROMPT_BYTES, read_prompt};
pub(crate) use upstream::choose_upstream;
pub(crate) use workspace::open_workspace;
