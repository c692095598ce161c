//! What the simulated model says, and which line a tool call leaves in the sandbox.
//!
//! Each message names a job of its own. The model answers it with one or two calls, and each call appends the job's name
//! and its own letter to one file: a line for a call, and never two. The command finds the name in the message, whatever
//! hostler has put beside it.

use serde_json::{Value, json};

pub(crate) const FILE: &str = "/workspace/lines";
/// Lines of the file that are asked for at once.
pub(crate) const PAGE: usize = 400;
const LETTERS: [&str; 2] = ["a", "b"];

/// The message of a job: one call, or two.
pub(crate) fn job(session: usize, number: u64) -> String {
    let calls = if number.is_multiple_of(3) { "two" } else { "one" };
    format!("job-{session}-{number}-{calls}.")
}

/// The message that asks for a page of the file.
pub(crate) fn show(page: usize) -> String {
    let first = page * PAGE + 1;
    format!("show-{first},{}.", first + PAGE - 1)
}

/// The lines of the calls that a message is answered with; none where it is no job.
pub(crate) fn lines_of(message: &str) -> Vec<String> {
    let Some(name) = message.strip_suffix('.').filter(|name| name.starts_with("job-")) else {
        return Vec::new();
    };
    let calls = if name.ends_with("-two") { 2 } else { 1 };
    let letters = LETTERS.iter().take(calls);
    letters.map(|letter| format!("{name}-{letter}")).collect()
}

/// The same where the message came with one before it, which may have asked for more.
pub(crate) fn all_lines_of(message: &str) -> Vec<String> {
    match message.strip_suffix('.').filter(|name| name.starts_with("job-")) {
        Some(name) => LETTERS.map(|letter| format!("{name}-{letter}")).into(),
        None => Vec::new(),
    }
}

/// The line that a call leaves, if it is one of a job.
pub(crate) fn line_of(command: &str) -> Option<String> {
    let (_, letter) = command.split_once("letter=")?;
    let letter = letter.split(';').next()?;
    let text = command.split("\nEND\n").next()?;
    let from = text.rfind("job-")?;
    let name = text[from..].trim_end().strip_suffix('.')?;
    Some(format!("{name}-{letter}"))
}

fn bash(command: &str) -> Value {
    json!({"tool_use": {"name": "Bash", "input": {"command": command}}})
}

fn append(letter: &str) -> Value {
    bash(&format!(
        "name=$(sed -n 's/^.*\\(job-[a-z0-9-]*\\)\\.$/\\1/p' <<'END' | tail -n 1\n{{{{last_user_text}}}}\nEND\n)\n\
         letter={letter}; sleep 0.1; echo \"$name-$letter\" >> {FILE} && sleep 0.1 && echo appended"
    ))
}

fn page() -> Value {
    bash(&format!(
        "range=$(sed -n 's/^.*show-\\([0-9,]*\\)\\.$/\\1/p' <<'END' | tail -n 1\n{{{{last_user_text}}}}\nEND\n)\n\
         sed -n \"${{range}}p\" {FILE}; echo end of page"
    ))
}

/// Slow enough to be cut in the middle.
fn said(text: &str) -> Value {
    json!({"text": text, "chunk": 6})
}

pub(crate) fn script() -> Value {
    let [a, b] = LETTERS.map(append);
    let when = |when: Value, reply: Value| json!({"when": when, "reply": reply, "chunk_delay_ms": 20});
    json!({
        "name": "chaos",
        "anytime": [
            when(json!({"last_user_text_contains": "interrupted in the middle"}), json!([said("I go on, and am done.")])),
            when(json!({"last_user_text_contains": "session was interrupted here"}), json!([said("I go on, and am done.")])),
            when(json!({"last_tool_result_contains": "end of page"}), json!([{"text": "That is the page."}])),
            when(json!({"last_tool_result_contains": ""}), json!([said("The calls have come back, and the job is done.")])),
            when(json!({"last_user_text_contains": "-two."}), json!([said("Two calls for this job."), a, b])),
            when(json!({"last_user_text_contains": "-one."}), json!([said("One call for this job."), a])),
            when(json!({"last_user_text_contains": "show-"}), json!([page()])),
        ],
        "turns": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulated_model::Script;
    use std::process::Command;

    fn filled(call: &Value, text: &str) -> String {
        let command = call["tool_use"]["input"]["command"].as_str().unwrap();
        command.replace("{{last_user_text}}", text)
    }

    #[test]
    fn the_script_can_be_played() {
        Script::parse(&script().to_string()).unwrap();
    }

    #[test]
    fn jobs_have_one_call_or_two() {
        assert_eq!(job(4, 6), "job-4-6-two.");
        assert_eq!(job(4, 7), "job-4-7-one.");
        assert_eq!(lines_of(&job(4, 6)), ["job-4-6-two-a", "job-4-6-two-b"]);
        assert_eq!(lines_of(&job(4, 7)), ["job-4-7-one-a"]);
        assert_eq!(lines_of(&show(0)), [""; 0]);
        assert_eq!([show(0), show(1)], ["show-1,400.", "show-401,800."]);
    }

    #[test]
    fn a_command_leaves_the_line_that_it_says_whatever_stands_before_the_job() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lines");
        let notes = "<system-reminder>\nIt's gone: $(false) `job-9-9-one`.\n</system-reminder>";
        for text in [
            job(1, 2),
            format!("{notes}\n{}", job(1, 3)),
            format!("{notes}{}", job(1, 4)),
        ] {
            for letter in LETTERS {
                let command = filled(&append(letter), &text);
                let line = line_of(&command).unwrap();
                let here = command
                    .replace(FILE, file.to_str().unwrap())
                    .replace("sleep 0.1", "true");
                let ran = Command::new("bash").args(["-c", &here]).output().unwrap();
                assert_eq!(String::from_utf8_lossy(&ran.stdout), "appended\n", "{ran:?}");
                let lines = std::fs::read_to_string(&file).unwrap();
                assert_eq!(lines.lines().last(), Some(line.as_str()));
            }
        }
        let shown = filled(&page(), &show(0)).replace(FILE, file.to_str().unwrap());
        let ran = Command::new("bash").args(["-c", &shown]).output().unwrap();
        let text = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(text.lines().next(), Some("job-1-2-one-a"));
        assert_eq!(text.lines().last(), Some("end of page"));
        assert_eq!(text.lines().count(), 7);
    }

    #[test]
    fn what_is_no_job_leaves_no_line() {
        assert_eq!(line_of("ls"), None);
        assert_eq!(line_of(&filled(&page(), &show(0))), None);
    }
}
