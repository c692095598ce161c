//! A text that is never printed and is compared in a time that does not depend on where it differs.

use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::from(text.into()))
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Only the lengths can be told from how long this takes.
    pub fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed_and_matches_only_itself() {
        let secret = Secret::new("sk-ant-1");
        assert!(!format!("{secret:?} {:#?}", Some(&secret)).contains("sk-ant"));
        assert!(secret.matches("sk-ant-1"));
        for other in ["", "sk-ant-", "sk-ant-2", "sk-ant-11"] {
            assert!(!secret.matches(other));
        }
    }
}
