//! What is wrong with a request: the field by its path, what it is, and what is allowed.

use std::fmt;

/// Characters of a client's own text that are repeated to it.
const SHOWN: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Like `tools[0].configs[1].name`; empty where it is the whole.
    pub path: String,
    pub problem: String,
    /// For programs, where the API has a word for it.
    pub code: Option<&'static str>,
}

impl Invalid {
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
            code: None,
        }
    }

    /// What the API has, and this server does not have yet.
    pub fn unsupported(path: impl Into<String>, what: impl fmt::Display) -> Self {
        Self::new(path, format!("{what} is not supported by this server yet"))
    }

    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// Seen from the object that has `field`.
    #[must_use]
    pub fn under(mut self, field: &str) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{}{separator}{}", shown(field), self.path);
        self
    }

    /// Seen from the list that has the item.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("[{index}]{separator}{}", self.path);
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "the request"
        } else {
            &self.path
        };
        write!(formatter, "{path}: {}", self.problem)
    }
}

impl std::error::Error for Invalid {}

/// A client's text, short enough for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_from_the_whole_to_the_part() {
        let invalid = Invalid::new("", "must be text").under("name").at(1);
        let invalid = invalid.under("configs").at(0).under("tools");
        assert_eq!(invalid.to_string(), "tools[0].configs[1].name: must be text");
        let whole = Invalid::new("", "must be an object");
        assert_eq!(whole.to_string(), "the request: must be an object");
    }

    #[test]
    fn what_a_client_wrote_is_repeated_in_part() {
        let invalid = Invalid::new("", "is no field").under(&"x".repeat(5000));
        assert!(invalid.path.chars().count() <= SHOWN + 1);
    }
}
