//! The programs that hostler plays, each in one function: how it begins, and what its end means.

use std::path::PathBuf;
use std::process::ExitCode;

/// The agent's user and place inside every sandbox.
const AGENT: u32 = 1000;
const AGENT_HOME: &str = "/home/agent";
const WORKSPACE: &str = "/workspace";
const CHANGES: &str = "/.hostler/changes";

/// Process 1 of a sandbox: first the jailer's shell, which isolates, then the guest, which serves.
pub(crate) fn guest() -> ExitCode {
    // Whatever fails has been told to the jailer; nobody reads our standard error.
    let Ok(entered) = jailer::shell::run() else {
        return ExitCode::FAILURE;
    };
    let config = guest::Config {
        listener: entered.guest_socket,
        outbox: entered.outbox,
        agent_uid: AGENT,
        agent_gid: AGENT,
        agent_home: AGENT_HOME.to_owned(),
        default_cwd: WORKSPACE.to_owned(),
        changes_root: entered.reader.then(|| PathBuf::from(CHANGES)),
    };
    match guest::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The privileged program.
#[expect(clippy::print_stderr, reason = "the jailer has no log but its standard error")]
pub(crate) fn jailer() -> ExitCode {
    match jailer::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostler jailer: {error}");
            ExitCode::FAILURE
        }
    }
}
