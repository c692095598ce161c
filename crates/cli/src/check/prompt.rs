//! What the agent is asked to do.

use std::io;
use terminal::input::{self, Until};
use terminal::{Failure, Signals};

/// More than any person writes, and less than any model takes.
pub(crate) const MAX_PROMPT_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
enum PromptError {
    #[error("the prompt is empty")]
    Empty,
    #[error("the prompt is longer than {MAX_PROMPT_BYTES} bytes")]
    TooLong,
    #[error("the prompt holds a NUL byte")]
    Nul,
    #[error("the prompt on standard input is not UTF-8")]
    Encoding,
    #[error("the prompt cannot be read from standard input")]
    Read(#[source] io::Error),
}

/// What was said, or for `-` what standard input has.
pub(crate) async fn read_prompt(argument: &str, signals: &mut Signals) -> Result<String, Failure> {
    if argument != "-" {
        return check_prompt(argument.to_owned());
    }
    let until = Until {
        bytes: MAX_PROMPT_BYTES + 1,
        line: false,
    };
    let read = input::read(until, signals).await;
    check_input(read.ok_or_else(|| Failure::said("interrupted", "interrupted before the agent began"))?)
}

/// From the command line.
fn check_prompt(prompt: String) -> Result<String, Failure> {
    check(prompt).map_err(explain)
}

/// From standard input, of which one byte more than the limit was read.
fn check_input(bytes: io::Result<Vec<u8>>) -> Result<String, Failure> {
    decode(bytes).and_then(check).map_err(explain)
}

fn explain(error: PromptError) -> Failure {
    let hint = match &error {
        PromptError::TooLong => "put the text into a file in the workspace, and ask the agent to read it",
        _ => "say what the agent shall do, like \"The tests fail. Find out why and fix it.\"",
    };
    Failure::usage(error).hint(hint)
}

fn decode(bytes: io::Result<Vec<u8>>) -> Result<String, PromptError> {
    let bytes = bytes.map_err(PromptError::Read)?;
    if bytes.len() > MAX_PROMPT_BYTES {
        return Err(PromptError::TooLong);
    }
    String::from_utf8(bytes).map_err(|_| PromptError::Encoding)
}

fn check(prompt: String) -> Result<String, PromptError> {
    if prompt.trim().is_empty() {
        return Err(PromptError::Empty);
    }
    if prompt.len() > MAX_PROMPT_BYTES {
        return Err(PromptError::TooLong);
    }
    if prompt.contains('\0') {
        return Err(PromptError::Nul);
    }
    Ok(prompt)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_comes_from_the_argument_or_from_standard_input() {
        assert_eq!(check_prompt("fix it".to_owned()).unwrap(), "fix it");
        assert_eq!(
            check_input(Ok(b"from a pipe\n".to_vec())).unwrap(),
            "from a pipe\n"
        );
    }

    #[test]
    fn a_prompt_that_is_none_is_refused_with_the_reason() {
        let long = "x".repeat(10 << 20);
        for (prompt, reason) in [
            ("", "is empty"),
            (" \n\t", "is empty"),
            ("a\0b", "NUL"),
            (long.as_str(), "longer than"),
        ] {
            for failure in [
                check_prompt(prompt.to_owned()).unwrap_err(),
                check_input(Ok(prompt.as_bytes().to_vec())).unwrap_err(),
            ] {
                assert!(failure.to_string().contains(reason), "{failure}");
                assert!(failure.hint.is_some() && failure.to_string().len() < 100);
            }
        }
        assert!(
            check_input(Ok(vec![0xff]))
                .unwrap_err()
                .to_string()
                .contains("not UTF-8")
        );
        let broken = Err(io::Error::other("the disk is gone"));
        assert!(
            check_input(broken)
                .unwrap_err()
                .to_string()
                .contains("the disk is gone")
        );
    }
}
