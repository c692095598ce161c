//! One command a file.

pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod keys;
pub(crate) mod run;
pub(crate) mod runtimes;
pub(crate) mod serve;
pub(crate) mod sessions;

use crate::services::{How, Running, Services, StartError, StartOptions};
use terminal::{Failure, Signals};

/// Starts the services, unless the user would rather not wait.
pub(crate) async fn start(
    services: &dyn Services,
    options: &StartOptions,
    signals: &mut Signals,
) -> Result<Running, Failure> {
    tokio::select! {
        started = services.start(options) => started.map_err(explain),
        _ = signals.next() => Err(Failure::said("interrupted", "interrupted before the agent began")),
    }
}

pub(crate) fn explain(error: StartError) -> Failure {
    let hint = match &error {
        StartError::Instance(store::InstanceError::Taken { .. }) => {
            Some("wait for it to end, or use another data directory: --data DIR")
        }
        StartError::Instance(_) | StartError::Store(_) => {
            Some("check the data directory, or use another: --data DIR")
        }
        StartError::Backend(_) => Some("hostler doctor says what this machine can do"),
        StartError::Script { .. } => Some("docs/simulated-model.md describes scripts"),
        StartError::Control(_) | StartError::Part { .. } => None,
    };
    // The only part of a start that is the user's own.
    let failure = match error {
        StartError::Script { .. } => Failure::usage(error),
        _ => Failure::failed("start", error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Waits for everything to end; a user who will not wait leaves the rest to the next start.
pub(crate) async fn end(running: Running, how: How, signals: &mut Signals) {
    // Nothing else is to hold on to what ends.
    let shutdown = { running }.shutdown;
    tokio::select! {
        _ = shutdown(how) => {}
        _ = signals.next() => {}
    }
}
