//! The role that people call: arguments, logs, and the runtime that everything asynchronous runs on.

use crate::benches;
use crate::service;
use crate::stack::ThisProcess;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use cli::{Environment, Signals, Terminal};
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Host AI agents on your own machine, each in a sandbox of its own.
#[derive(Debug, Parser)]
#[command(name = "hostler", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    #[command(flatten)]
    Command(cli::Command),
    /// Measure this machine, beside what else is installed on it
    Bench(benches::Arguments),
}

pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Where nobody reads, the exit code still tells.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let serves = matches!(&arguments.program, Program::Command(cli::Command::Serve(_)));
    if let Err(error) = start_log(if serves { "info" } else { "error" }) {
        return fail(&format!("{error:#}"));
    }
    if let Program::Command(cli::Command::Serve(arguments)) = &arguments.program
        && let Err(error) = service::prepare(arguments)
    {
        return fail(&format!("{error:#}"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start threads: {error}")),
    };
    match arguments.program {
        Program::Command(command) => runtime.block_on(serve(&command)),
        Program::Bench(arguments) => runtime.block_on(benches::run(&arguments)),
    }
}

async fn serve(command: &cli::Command) -> ExitCode {
    let environment = Environment::of_process();
    let terminal = Terminal::of_process(&environment);
    match Signals::of_process() {
        Ok(signals) => cli::main(command, &environment, &ThisProcess::default(), terminal, signals).await,
        Err(error) => fail(&format!("cannot receive signals: {error}")),
    }
}

/// What `HOSTLER_LOG` asks for, or else this much, on standard error: lines for people on a terminal, JSON elsewhere.
fn start_log(level: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("HOSTLER_LOG") {
        Ok(asked) if !asked.is_empty() => EnvFilter::try_new(&asked).with_context(|| {
            format!("HOSTLER_LOG={asked:?} is no filter: try `debug`, or `info,gateway=debug`")
        })?,
        Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("HOSTLER_LOG is not UTF-8"),
        Ok(_) | Err(std::env::VarError::NotPresent) => EnvFilter::new(level),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        registry.with(layer.without_time().with_target(false)).try_init()
    } else {
        // Fields of a line stand beside those of its spans.
        let layer = layer.json().flatten_event(true).with_current_span(false);
        registry.with(layer).try_init()
    };
    // A second log in one process would be our own mistake, and no reason to stop.
    debug_assert!(started.is_ok());
    Ok(())
}

#[expect(clippy::print_stderr, reason = "before there is a terminal to render on")]
pub(crate) fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}
