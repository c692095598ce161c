//! `hostler bench chaos`: the run, and what is said of it.

use super::{program, progress, tell};
use crate::command_line::fail;
use chaos::{Arguments, Outcome, another_seed, chaos};
use std::io::Write as _;
use std::process::ExitCode;

/// Of broken promises that are shown.
const SHOWN: usize = 50;
const SHOWN_CHARACTERS: usize = 1000;

/// Fails where a promise is broken.
pub(super) async fn run(arguments: &Arguments) -> ExitCode {
    let seed = arguments.seed.unwrap_or_else(another_seed);
    let progress = progress::of_process();
    let ran = match program() {
        Ok(program) => chaos(&program, arguments, seed, &*progress).await,
        Err(error) => return fail(&format!("{error:#}")),
    };
    drop(progress);
    match ran {
        Ok(outcome) => told(&outcome, arguments, seed),
        Err(stopped) => fail(&format!("{stopped}\nthe seed was {seed}")),
    }
}

fn told(outcome: &Outcome, arguments: &Arguments, seed: u64) -> ExitCode {
    let path = bench::json_path("chaos", arguments.json.as_deref());
    let told = tell(&outcome.report, &path);
    if outcome.broken.is_empty() {
        return told;
    }
    let mut lines: Vec<String> = outcome.broken.iter().take(SHOWN).map(shown).collect();
    if outcome.broken.len() > SHOWN {
        lines.push(format!("and {} more", outcome.broken.len() - SHOWN));
    }
    if let Some(kept) = &outcome.kept {
        lines.push(format!(
            "the data directory and the server's log are in {}",
            kept.display()
        ));
    }
    lines.push(format!("the seed was {seed}\n"));
    let text = lines.join("\n");
    // Where nobody reads, the exit code still tells.
    std::io::stderr().write_all(text.as_bytes()).ok();
    ExitCode::FAILURE
}

fn shown(broken: &impl ToString) -> String {
    let broken: String = broken.to_string().chars().take(SHOWN_CHARACTERS).collect();
    format!("broken: {broken}")
}
