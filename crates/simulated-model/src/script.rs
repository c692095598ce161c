//! Scripts: data files that say what the simulated model replies.
//!
//! A script that loads can be played: every name, number and variable in it was checked. The format is described in
//! `docs/simulated-model.md`.

mod parts;
mod validate;

pub use parts::{Endless, Fault, Order, Position, Repeat, Script, Step, ToolUse, Turn, UsageOverride, When};

use std::io;
use std::path::{Path, PathBuf};

/// The largest script file.
const MAX_SCRIPT_BYTES: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    #[error("the script {path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("the script {path} is larger than {most} bytes")]
    TooLarge { path: PathBuf, most: u64 },
    #[error("the script is not as docs/simulated-model.md describes it")]
    Json(#[from] serde_json::Error),
    #[error("the script cannot be played: {place}: {reason}")]
    Invalid { place: String, reason: String },
}

impl Script {
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let read = |source| ScriptError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read)?.len() > MAX_SCRIPT_BYTES {
            return Err(ScriptError::TooLarge { path: path.to_owned(), most: MAX_SCRIPT_BYTES });
        }
        Self::parse(&std::fs::read_to_string(path).map_err(read)?)
    }

    pub fn parse(json: &str) -> Result<Self, ScriptError> {
        let script: Self = serde_json::from_str(json)?;
        validate::check(&script)?;
        Ok(script)
    }
}
