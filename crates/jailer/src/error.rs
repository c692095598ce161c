//! The one error of building and ending a sandbox: which step, on what, and why.

use std::io;

/// A step that failed. The step's name is what the user sees first, so it says what was being done.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {what}: {source}")]
pub struct StepError {
    pub step: &'static str,
    pub what: String,
    pub source: io::Error,
}

/// Names the step and the object of a failed call.
pub trait During<T> {
    fn during(self, step: &'static str, what: impl FnOnce() -> String) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &'static str, what: impl FnOnce() -> String) -> Result<T, StepError> {
        self.map_err(|source| StepError {
            step,
            what: what(),
            source: source.into(),
        })
    }
}
