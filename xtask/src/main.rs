//! Developer tasks: what CI runs is what a developer runs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

mod dist;
mod static_elf;
mod tidy;

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy     check sizes, heads, names and dependency arrows
       cargo xtask dist     build the static binary at target/dist/hostler";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let task = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy,
        ["dist"] => dist,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match root().and_then(|root| task(&root)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tidy(root: &Path) -> Result<bool> {
    let outcome = tidy::check(root)?;
    for finding in &outcome.findings {
        println!("{finding}");
    }
    println!(
        "tidy: {} files, {} findings",
        outcome.files,
        outcome.findings.len()
    );
    Ok(outcome.findings.is_empty())
}

fn dist(root: &Path) -> Result<bool> {
    let built = dist::build(root)?;
    println!(
        "{}: static, not position-independent, {} bytes",
        built.path.display(),
        built.bytes
    );
    Ok(true)
}

/// The workspace: the directory above this crate's.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map(Path::to_path_buf)
        .context("xtask lies in a workspace")
}
