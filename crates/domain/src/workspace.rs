//! Workspaces: what one tenant has. Every resource lies in exactly one, and nobody sees from one into another.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const MAX_CHARACTERS: usize = 64;
const DEFAULT: &str = "default";

/// A workspace's name: 1 to 64 characters of `a-z`, `0-9`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not the name of a workspace: use 1 to {MAX_CHARACTERS} characters of a-z, 0-9, _ and -, like team-a"
)]
pub struct WorkspaceError {
    text: String,
}

impl WorkspaceId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for WorkspaceId {
    /// `default`: where everything is until somebody asks for more workspaces.
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

fn check(text: &str) -> Result<(), WorkspaceError> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if (1..=MAX_CHARACTERS).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(WorkspaceError {
        text: text.chars().take(MAX_CHARACTERS).collect(),
    })
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for WorkspaceId {
    type Err = WorkspaceError;
    fn from_str(text: &str) -> Result<Self, WorkspaceError> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for WorkspaceId {
    type Error = WorkspaceError;
    fn try_from(text: String) -> Result<Self, WorkspaceError> {
        check(&text)?;
        Ok(Self(text))
    }
}

impl From<WorkspaceId> for String {
    fn from(workspace: WorkspaceId) -> Self {
        workspace.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_safe_everywhere() {
        for text in ["default", "a", "team-a_2", &"x".repeat(64)] {
            assert_eq!(text.parse::<WorkspaceId>().map(String::from), Ok(text.to_owned()));
        }
        for text in ["", "Team", "a b", "../x", "\u{e9}", "a\0", &"x".repeat(65)] {
            assert!(text.parse::<WorkspaceId>().is_err(), "{text:?}");
        }
    }
}
