//! Scripts: data files that say what the simulated model replies.
//!
//! A script that loads can be played: every name, number and variable in it was checked. The format is described in
//! `docs/simulated-model.md`.

mod parts;
mod validate;

pub use parts::{
    Endless, Fault, Order, Position, Repeat, Script, SearchResult, Step, ToolUse, Turn, UsageOverride,
    WebSearch, When,
};

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
        let read = |source| ScriptError::Read {
            path: path.to_owned(),
            source,
        };
        if std::fs::metadata(path).map_err(read)?.len() > MAX_SCRIPT_BYTES {
            return Err(ScriptError::TooLarge {
                path: path.to_owned(),
                most: MAX_SCRIPT_BYTES,
            });
        }
        Self::parse(&std::fs::read_to_string(path).map_err(read)?)
    }

    pub fn parse(json: &str) -> Result<Self, ScriptError> {
        let script: Self = serde_json::from_str(json)?;
        validate::check(&script)?;
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_a_script_are_named_with_their_place() {
        for (json, part) in [
            (r#"{"name":"x","turns":[]}"#, "turns"),
            (r#"{"name":"","turns":[{"reply":[{"text":"a"}]}]}"#, "name"),
            (r#"{"name":"x","turns":[{"reply":[]}]}"#, "turns[0]"),
            (r#"{"name":"x","turns":[[]]}"#, "turns[0]"),
            (
                r#"{"name":"x","turns":[{"reply":[{"text":"a","thinking":"b"}]}]}"#,
                "exactly one",
            ),
            (
                r#"{"name":"x","turns":[{"reply":[{"text":"a","chunk":0}]}]}"#,
                "chunk",
            ),
            (
                r#"{"name":"x","turns":[{"reply":[{"text":"{{nonsense}}"}]}]}"#,
                "nonsense",
            ),
            (
                r#"{"name":"x","turns":[{"reply":[{"tool_use":{"name":"a b"}}]}]}"#,
                "name of a tool",
            ),
            (
                r#"{"name":"x","turns":[{"reply":[{"tool_use":{"name":"a","input":{"k":["{{no}}"]}}}]}]}"#,
                "no",
            ),
            (
                r#"{"name":"x","turns":[{"reply":[{"web_search":{"results":[{"title":"a","url":"u"}],"error":"unavailable"}}]}]}"#,
                "results or an error",
            ),
            (
                r#"{"name":"x","turns":[{"reply":[{"web_search":{"query":"{{no}}"}}]}]}"#,
                "no",
            ),
            (
                r#"{"name":"x","anytime":[{"reply":[{"text":"a"}]}],"turns":[]}"#,
                "when",
            ),
            (
                r#"{"name":"x","turns":[{"reply":[{"text":"a"}],"chunk_delay_ms":99999999}]}"#,
                "delay",
            ),
        ] {
            let error = Script::parse(json).unwrap_err();
            let ScriptError::Invalid { place, reason } = &error else {
                panic!("{json}: {error:?}")
            };
            assert!(
                format!("{place} {reason}").contains(part),
                "{json}: {place}: {reason}"
            );
        }
        for json in [
            "",
            "[]",
            r#"{"name":"x","turns":[{"replay":[]}]}"#,
            r#"{"name":"x","turns":["text"]}"#,
        ] {
            assert!(matches!(Script::parse(json), Err(ScriptError::Json(_))), "{json}");
        }
    }

    #[test]
    fn a_script_that_is_not_there_is_named() {
        let error = Script::load(Path::new("/nonexistent/script.json")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/script.json"));
    }
}
