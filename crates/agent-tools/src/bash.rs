//! The Bash tool: a command in the persistent shell, and how its end is told.

use std::fmt::Write;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::outcome::text_block;
use crate::shell::{Background, End, Ran, Request, Shell, Survival};
use crate::{Concurrency, Definition, Kind, Outcome, Settings};

pub(crate) const NAME: &str = "Bash";

#[derive(Deserialize)]
pub(crate) struct Input {
    command: String,
    timeout: Option<u64>,
    #[serde(default)]
    run_in_background: bool,
}

pub(crate) fn definition(settings: &Settings) -> Definition {
    let (default, max) = (
        settings.bash_default_timeout.as_millis(),
        settings.bash_max_timeout.as_millis(),
    );
    let mut description = format!(
        "Runs a command in a persistent bash. The working directory, variables, functions, aliases, options and \
         background jobs carry over from one call to the next. Standard input is empty, and there is no terminal. \
         The answer holds standard output, then standard error; when they exceed {} characters together you get both \
         ends and the path of a file with everything. A command is ended after its timeout, {default} ms unless you \
         say otherwise, {max} ms at most; the shell stays. For servers and other long work use run_in_background, and \
         read the output file it names. Prefer Read, Write, Edit, Glob and Grep for files: they are faster and \
         checked. The shell starts in {}.",
        settings.bash_max_output,
        settings.cwd.display()
    );
    for directory in &settings.additional_directories {
        let _infallible = write!(
            description,
            " {} is yours to work in as well.",
            directory.display()
        );
    }
    Definition {
        name: NAME,
        description,
        input_schema: json!({
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "The command, or a script of several lines"},
                "timeout": {"type": "integer", "minimum": 1, "description": format!("Milliseconds, at most {max}")},
                "description": {"type": "string", "description": "What the command does, in five to ten words"},
                "run_in_background": {
                    "type": "boolean",
                    "description": "Return at once and leave the command running; its output goes to a file",
                },
                "dangerouslyDisableSandbox": {"type": "boolean", "description": "Has no effect here"},
            },
            "required": ["command"],
            "additionalProperties": false,
        }),
        concurrency: Concurrency::Exclusive,
        kind: Kind::Execute,
    }
}

pub(crate) async fn call(
    shell: &Shell,
    settings: &Settings,
    input: Input,
    cancel: CancellationToken,
) -> Outcome {
    if input.command.contains('\0') {
        return Outcome::refused(
            "InputValidationError: The parameter `command` must not contain NUL characters",
        );
    }
    let timeout = input
        .timeout
        .map_or(settings.bash_default_timeout, Duration::from_millis);
    let quiet = is_quiet(&input.command);
    let request = Request {
        command: input.command,
        timeout: timeout.min(settings.bash_max_timeout),
        in_background: input.run_in_background,
        cancel,
    };
    match shell.run(request).await {
        Ok(ran) => outcome(&ran, quiet),
        Err(failure) => Outcome::failed(with_source(&failure)),
    }
}

fn outcome(ran: &Ran, quiet: bool) -> Outcome {
    let stdout = ran.stdout.text();
    let stderr = without_shell_noise(&ran.stderr.text(), ran);
    let mut shown = joined([stdout.trim_end_matches('\n'), stderr.trim_end_matches('\n')]);
    let notes = notes(ran);
    let failure = match ran.end {
        End::Status(0) => None,
        End::Status(number) => Some(format!("Exit code {number}")),
        End::TimedOut(after) => Some(format!(
            "Exit code 143\nCommand timed out after {}s",
            after.as_secs_f64()
        )),
        End::Interrupted => Some("The command was interrupted before it was done".to_owned()),
    };
    if shown.is_empty() && failure.is_none() && ran.background.is_none() {
        "(Bash completed with no output)".clone_into(&mut shown);
    }
    let text = joined([failure.as_deref().unwrap_or_default(), &shown, &notes]);
    let result = match (&failure, ran.end) {
        (Some(_), End::Status(_) | End::TimedOut(_)) => Value::String(format!("Error: {text}")),
        _ => result(ran, &stdout, &stderr, quiet),
    };
    Outcome {
        content: vec![text_block(text)],
        is_error: failure.is_some(),
        result,
    }
}

fn result(ran: &Ran, stdout: &str, stderr: &str, quiet: bool) -> Value {
    let mut result = json!({
        "stdout": stdout,
        "stderr": stderr,
        "interrupted": ran.end == End::Interrupted,
        "isImage": false,
        "noOutputExpected": quiet,
    });
    if let Some(Background { id, output }) = &ran.background {
        result["backgroundTaskId"] = json!(id);
        result["outputFile"] = json!(output);
    }
    if let Some(kept) = &ran.kept {
        result["persistedOutputPath"] = json!(kept.path);
        result["persistedOutputSize"] = json!(kept.size);
    }
    result
}

/// What the model must know beside the output.
fn notes(ran: &Ran) -> String {
    let mut notes = Vec::new();
    if let Some(kept) = &ran.kept {
        let mut note = format!(
            "[The output is too long to show: all {} bytes are in {}",
            kept.size,
            kept.path.display()
        );
        if kept.dropped > 0 {
            let _infallible = write!(
                note,
                ", except the last {} bytes, which were dropped",
                kept.dropped
            );
        }
        notes.push(note + "]");
    }
    if let Some(Background { id, output }) = &ran.background {
        notes.push(format!(
            "Running in the background as {id}. Its output goes to {}",
            output.display()
        ));
    }
    if let Some(later) = &ran.later {
        let later = later.display();
        notes.push(format!(
            "[Still running in the background; what it writes from now on goes to {later}]"
        ));
    }
    match ran.survival {
        Survival::Lives => {}
        Survival::Replaced => notes.push(
            "[The shell exited. A new one has its directory, variables, functions, aliases and options; background \
             processes go on, but `jobs` does not list them]"
                .to_owned(),
        ),
        Survival::Lost => notes.push(
            "[The shell ended. A new one was started in its last directory; variables, functions and options are lost]"
                .to_owned(),
        ),
    }
    notes.extend(ran.notes.iter().map(|note| format!("[{note}]")));
    notes.join("\n")
}

/// An interactive shell says `exit` as it exits, and tries to reset a terminal that isn't there after a signal.
fn without_shell_noise(stderr: &str, ran: &Ran) -> String {
    let is_noise = |line: &str| line.starts_with("bash: [") && line.contains("] tcsetattr: ");
    let mut text: String = stderr
        .split_inclusive('\n')
        .filter(|line| !is_noise(line))
        .collect();
    if ran.survival != Survival::Lives
        && let Some(rest) = text.strip_suffix("exit\n")
        && (rest.is_empty() || rest.ends_with('\n'))
    {
        text.truncate(rest.len());
    }
    text
}

fn joined<const N: usize>(parts: [&str; N]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

/// Commands that say nothing when all is well.
fn is_quiet(command: &str) -> bool {
    const QUIET: [&str; 17] = [
        "cd", "mkdir", "rmdir", "rm", "mv", "cp", "ln", "touch", "chmod", "chown", "chgrp", "export",
        "unset", "true", "set", "alias", "wait",
    ];
    let first = command.split_whitespace().next().unwrap_or_default();
    QUIET.contains(&first) && !command.contains(['\n', ';', '|', '&'])
}

fn with_source(failure: &dyn std::error::Error) -> String {
    failure
        .source()
        .map_or_else(|| failure.to_string(), |source| format!("{failure}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_say_nothing_are_quiet() {
        for (command, quiet) in [
            ("mkdir -p a", true),
            ("cd", true),
            ("cd a; ls", false),
            ("ls", false),
            ("", false),
        ] {
            assert_eq!(is_quiet(command), quiet, "{command}");
        }
    }
}
