//! What is shown, as lines of text. Whatever an agent wrote is made harmless for a terminal here.

pub(crate) mod activity;
pub(crate) mod changes;
pub(crate) mod diff;
pub(crate) mod event_line;
pub(crate) mod facts;
pub(crate) mod waiting;
