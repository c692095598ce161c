//! What the user gets to read when something goes wrong: a message, what to do about it, and the exit code.

use crate::terminal::Terminal;
use std::error::Error;
use std::fmt;

/// Exit codes: 0 is done, and these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The agent failed, a limit was reached, or hostler could not do it.
    Failed = 1,
    /// The call is wrong: nothing was begun.
    Usage = 2,
}

/// An error at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A word for programs, in `--json`.
    pub kind: &'static str,
    pub message: String,
    pub hint: Option<String>,
    pub exit: Exit,
}

impl Failure {
    pub fn usage(error: impl Error) -> Self {
        Self {
            kind: "usage",
            message: chain(&error),
            hint: None,
            exit: Exit::Usage,
        }
    }

    pub fn failed(kind: &'static str, error: impl Error) -> Self {
        Self {
            kind,
            message: chain(&error),
            hint: None,
            exit: Exit::Failed,
        }
    }

    pub fn said(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            exit: Exit::Failed,
        }
    }

    /// By the user.
    pub fn interrupted() -> Self {
        Self::said("interrupted", "interrupted")
    }

    /// For people; the exit code.
    pub fn tell(&self, terminal: &mut Terminal) -> u8 {
        let style = terminal.style();
        terminal.line(&format!("{} {}", style.red("error:"), self.message));
        if let Some(hint) = &self.hint {
            terminal.line(&format!("{} {hint}", style.cyan("hint:")));
        }
        self.exit as u8
    }

    /// For who reads logs; the exit code.
    pub fn log(&self) -> u8 {
        tracing::error!(kind = self.kind, hint = self.hint, "{}", self.message);
        self.exit as u8
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Error for Failure {}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let causes = || std::iter::successors(error.source(), |cause| Error::source(*cause));
    let innermost = causes().last().map(ToString::to_string);
    let mut text = error.to_string();
    for cause in causes().map(ToString::to_string) {
        // Transparent errors repeat what they wrap, others tell the innermost cause themselves.
        if innermost
            .as_ref()
            .is_some_and(|innermost| text.ends_with(innermost))
        {
            break;
        }
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the store")]
    struct Outer(#[source] std::io::Error);

    /// Says why itself.
    #[derive(Debug, thiserror::Error)]
    #[error("there is no store: disk full")]
    struct Told(#[source] Outer);

    #[test]
    fn the_message_names_the_causes_too() {
        let failure = Failure::failed("store", Outer(std::io::Error::other("disk full")));
        assert_eq!(failure.to_string(), "cannot open the store: disk full");
        let told = Failure::failed("store", Told(Outer(std::io::Error::other("disk full"))));
        assert_eq!(told.to_string(), "there is no store: disk full");
    }
}
