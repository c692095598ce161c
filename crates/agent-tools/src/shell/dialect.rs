//! What is written to the shell's standard input, for bash and for other POSIX shells.
//!
//! The shell is interactive, without a terminal: an interrupt then throws it back to its next input line instead of
//! ending it, so the status line after a command is always reached. The command travels in single quotes as one
//! argument of `eval`; no text can leave the quotes, and what `eval` cannot parse is an error of `eval` alone.
//! SIGTERM is trapped to interrupt the shell itself: unlike SIGINT it is not forgotten while a program runs that outlives
//! the interrupt, so nothing that follows that program is begun.
//! Words of ours carry a backslash or `builtin`, so that aliases and functions of the same name do not catch them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Carries the call's tag in the environment of what the call starts.
pub(crate) const TAG_VARIABLE: &str = "HOSTLER_TOOL_CALL";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Bash,
    Posix,
}

impl Dialect {
    pub(crate) fn of(program: &Path) -> Self {
        if program.file_name().is_some_and(|name| name == "bash") {
            Self::Bash
        } else {
            Self::Posix
        }
    }

    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Bash => &["--noprofile", "--norc", "--noediting", "+o", "history", "-i"],
            Self::Posix => &["-i"],
        }
    }

    /// The first lines: a quiet shell that leaves its state in `state` when it exits, and takes it from there if told.
    pub(crate) fn opening(self, state: &Path, restore: bool) -> String {
        let state = quoted(state.as_os_str().as_encoded_bytes());
        match self {
            Self::Posix => "PS1= PS2=\ntrap 'kill -INT $$' TERM\n".to_owned(),
            Self::Bash => {
                let restored = if restore {
                    format!("builtin . {state} 2>/dev/null\n")
                } else {
                    String::new()
                };
                format!(
                    "PS1= PS2= PROMPT_COMMAND=\nunset HISTFILE MAILCHECK\nset +H\n\
                     __hostler_keep() {{ {{ builtin declare -p; builtin declare -f; builtin alias -p; builtin shopt -p; \
                     builtin set +o; builtin trap -p; builtin umask -p; builtin printf 'builtin cd -- %q\\n' \"$PWD\"; \
                     builtin printf '{COMPLETE}\\n'; }} >|{state} 2>/dev/null; }}\n\
                     {restored}builtin trap __hostler_keep EXIT\nbuiltin trap 'builtin kill -INT $$' TERM\n"
                )
            }
        }
    }

    /// The lines of one call.
    pub(crate) fn call(self, call: &CallLines<'_>) -> Vec<u8> {
        let prefix = self.prefix();
        let mut lines = format!("{prefix}export {TAG_VARIABLE}={}\n", call.tag).into_bytes();
        let stdout = quoted(call.stdout.as_os_str().as_encoded_bytes());
        let stderr = quoted(call.stderr.as_os_str().as_encoded_bytes());
        let command = quoted(self.grouped(call.command).as_bytes());
        let eval = self.eval();
        if call.in_background {
            let status = format!("{prefix}printf \"\\n[exit code %s]\\n\" \"$?\"");
            let text = format!(
                "{{ ( {prefix}trap {} EXIT; {eval} {command} ) 2>&1 & }} </dev/null >{stdout}\n",
                quoted(status.as_bytes())
            );
            lines.extend_from_slice(text.as_bytes());
        } else {
            lines.extend_from_slice(format!("{eval} {command} </dev/null >{stdout} 2>{stderr}\n").as_bytes());
        }
        lines.extend_from_slice(&self.status(call.marker));
        lines
    }

    /// Asks for the status line; harmless when asked twice.
    pub(crate) fn status(self, marker: &str) -> Vec<u8> {
        format!("{}printf '\\n{marker} %s\\n' \"$?\"\n", self.prefix()).into_bytes()
    }

    /// An interactive bash goes on with the next line after an error that ends a script, such as an unset variable
    /// under `set -u`. As one group the lines are given up together.
    fn grouped(self, command: &str) -> Cow<'_, str> {
        let is_code = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
        if self == Self::Bash && command.trim_end().contains('\n') && command.lines().any(is_code) {
            // The empty line ends what a last backslash would join.
            Cow::Owned(format!("{{\n{command}\n\n}}"))
        } else {
            Cow::Borrowed(command)
        }
    }

    /// In other shells an error of `eval` itself would end more than the `eval`, but for `command`.
    fn eval(self) -> &'static str {
        match self {
            Self::Bash => "\\builtin eval",
            Self::Posix => "\\command eval",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Bash => "\\builtin ",
            Self::Posix => "\\",
        }
    }
}

/// The last line of a state file that was written whole.
pub(crate) const COMPLETE: &str = "# complete";

pub(crate) struct CallLines<'a> {
    pub(crate) command: &'a str,
    pub(crate) tag: &'a str,
    pub(crate) marker: &'a str,
    pub(crate) stdout: &'a Path,
    pub(crate) stderr: &'a Path,
    pub(crate) in_background: bool,
}

/// The shells in the order of preference.
pub(crate) fn candidates(path: Option<&std::ffi::OsStr>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in ["bash", "sh"] {
        found.extend(["/bin", "/usr/bin"].map(|directory| Path::new(directory).join(name)));
        found.extend(
            path.iter()
                .flat_map(|path| std::env::split_paths(path))
                .map(|directory| directory.join(name)),
        );
    }
    found
}

fn quoted(text: &[u8]) -> String {
    // What is quoted is a `str` or a path that was made from one, so nothing is replaced here.
    format!("'{}'", String::from_utf8_lossy(text).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_quotes() {
        for (text, expected) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("'", r"''\'''"),
            ("$x`y`\\\n", "'$x`y`\\\n'"),
        ] {
            assert_eq!(quoted(text.as_bytes()), expected);
        }
    }

    #[test]
    fn only_lines_of_code_are_grouped() {
        for (command, grouped) in [
            ("a; b", false),
            ("a\n", false),
            ("a\nb", true),
            ("# a\n\n  # b", false),
            ("cat <<X\n# x\nX", true),
        ] {
            assert_eq!(Dialect::Bash.grouped(command) != command, grouped, "{command:?}");
            assert_eq!(Dialect::Posix.grouped(command), command);
        }
    }

    #[test]
    fn bash_is_known_by_its_name_and_preferred() {
        let found = candidates(Some(std::ffi::OsStr::new("/opt/x")));
        assert_eq!(found[0], Path::new("/bin/bash"));
        assert!(found.contains(&PathBuf::from("/opt/x/sh")));
        assert_eq!(Dialect::of(&found[0]), Dialect::Bash);
        assert_eq!(Dialect::of(Path::new("/bin/sh")), Dialect::Posix);
    }
}
