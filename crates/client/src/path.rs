//! Paths with their queries, encoded.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Display;

#[derive(Debug, Clone)]
pub(crate) struct Path(String);

impl Path {
    /// `path` needs no encoding: ids and words.
    pub(crate) fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        let value = value.to_string();
        for (text, end) in [(name, "="), (value.as_str(), "")] {
            self.0.extend(utf8_percent_encode(text, NON_ALPHANUMERIC));
            self.0.push_str(end);
        }
        self
    }

    #[must_use]
    pub(crate) fn with_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    #[must_use]
    pub(crate) fn with_all(self, name: &str, values: impl IntoIterator<Item = impl Display>) -> Self {
        values
            .into_iter()
            .fold(self, |path, value| path.with(name, value))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_asked_for_leaves_its_parameter() {
        let path = Path::new("/v1/x")
            .with_some("limit", Some(7))
            .with_some("page", None::<&str>)
            .with_all("types[]", ["a.b", "c&d=e\u{e4}"]);
        assert_eq!(
            path.as_str(),
            "/v1/x?limit=7&types%5B%5D=a%2Eb&types%5B%5D=c%26d%3De%C3%A4"
        );
    }
}
