//! Measures the tools: the round trip of a command, half a gigabyte of output, and search against ripgrep.
//!
//! `cargo run --release -p agent-tools --example measure -- [DIRECTORY]` prints one line for each.
#![allow(clippy::print_stdout, reason = "it is a program for the command line")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_tools::{Settings, Toolbox};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let results = std::env::temp_dir().join("agent-tools-measure");
    let toolbox = Toolbox::new(Settings::new(&directory, &results));
    report(
        "shell start and first command",
        vec![timed(&toolbox, "Bash", json!({"command": "echo n"})).await],
    );
    report(
        "echo",
        repeated(&toolbox, "Bash", json!({"command": "echo n"}), 2000).await,
    );
    report(
        "/bin/true",
        repeated(&toolbox, "Bash", json!({"command": "/bin/true"}), 500).await,
    );
    report(
        "500 MB of output",
        repeated(
            &toolbox,
            "Bash",
            json!({"command": "head -c 500000000 /dev/zero"}),
            3,
        )
        .await,
    );
    report(
        "Glob **/*.toml",
        repeated(&toolbox, "Glob", json!({"pattern": "**/*.toml"}), 10).await,
    );
    for pattern in ["unsafe impl", "fn [a-z]+_with_options", "zzz_not_there"] {
        report(
            &format!("Grep {pattern:?}"),
            repeated(&toolbox, "Grep", json!({"pattern": pattern}), 10).await,
        );
        peer(&directory, pattern);
    }
    toolbox.shutdown().await;
    if let Err(error) = std::fs::remove_dir_all(&results) {
        println!("{} stays: {error}", results.display());
    }
}

async fn timed(toolbox: &Toolbox, tool: &str, input: Value) -> Duration {
    let begun = Instant::now();
    let outcome = toolbox.call(tool, input, CancellationToken::new()).await;
    let elapsed = begun.elapsed();
    assert!(!outcome.is_error, "{outcome:?}");
    elapsed
}

async fn repeated(toolbox: &Toolbox, tool: &str, input: Value, times: usize) -> Vec<Duration> {
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        all.push(timed(toolbox, tool, input.clone()).await);
    }
    all
}

fn peer(directory: &PathBuf, pattern: &str) {
    let mut all = Vec::new();
    for _ in 0..10 {
        let begun = Instant::now();
        let arguments = ["-l", "--hidden", "-g", "!.git", "-e", pattern];
        match std::process::Command::new("rg")
            .args(arguments)
            .arg(directory)
            .output()
        {
            Ok(_) => all.push(begun.elapsed()),
            Err(_) => return println!("  ripgrep is not installed"),
        }
    }
    report("  ripgrep", all);
}

fn report(what: &str, mut all: Vec<Duration>) {
    all.sort();
    let at = |share: usize| all[(all.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!(
        "{what:36} p50 {:9.3} ms  p99 {:9.3} ms  n {}",
        at(50),
        at(99),
        all.len()
    );
}
