//! The role that people call: arguments, logs, and the runtime that everything asynchronous runs on.

use crate::benches;
use crate::service;
use crate::stack::ThisProcess;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use cli::{Environment, Failure, ServeArguments, ServeSettings, Signals, Terminal};
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
    let environment = Environment::of_process();
    let program = match arguments.program {
        Program::Command(cli::Command::Serve(arguments)) => return serve(&arguments, &environment),
        program => program,
    };
    if let Err(error) = asked_log().and_then(|asked| start_log(asked.as_deref().unwrap_or("error"))) {
        return fail(&format!("{error:#}"));
    }
    match program {
        Program::Command(command) => run_to_end(execute(&command, &environment)),
        Program::Bench(arguments) => run_to_end(benches::run(&arguments)),
    }
}

async fn execute(command: &cli::Command, environment: &Environment) -> ExitCode {
    let terminal = Terminal::of_process(environment);
    match Signals::of_process() {
        Ok(signals) => cli::main(command, environment, &ThisProcess::default(), terminal, signals).await,
        Err(error) => fail(&no_signals(&error)),
    }
}

/// What a server needs of root comes first, and before any thread: settings and keys are read, and the jailer is started.
fn serve(arguments: &ServeArguments, environment: &Environment) -> ExitCode {
    let mut terminal = Terminal::of_process(environment);
    let settings = ServeSettings::find(arguments, environment);
    let filter = settings.as_ref().map_or("info", |settings| settings.log.as_str());
    if let Err(error) = start_log(filter) {
        return fail(&format!("{error:#}"));
    }
    if !std::io::stderr().is_terminal() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a thread panicked")));
    }
    let settings = match settings {
        Ok(settings) => settings,
        Err(failure) => return cli::tell(&failure, &mut terminal),
    };
    let traces = match traces() {
        Ok(traces) => traces,
        Err(error) => return cli::tell(&Failure::usage(error), &mut terminal),
    };
    jailer::raise_descriptor_limit();
    if environment.is_root
        && let Err(error) = service::prepare(&settings)
    {
        return cli::tell(&Failure::said("start", format!("{error:#}")), &mut terminal);
    }
    let services = ThisProcess {
        traces,
        ..ThisProcess::default()
    };
    run_to_end(async {
        match Signals::of_process() {
            Ok(signals) => cli::serve(&settings, &services, terminal, signals).await,
            Err(error) => cli::tell(&Failure::said("start", no_signals(&error)), &mut terminal),
        }
    })
}

/// What the standard variables of OpenTelemetry ask of a server.
fn traces() -> Result<Option<traces::Settings>, traces::SettingsError> {
    traces::Settings::read(|name| {
        let value = std::env::var_os(name)?;
        Some(value.to_string_lossy().into_owned())
    })
}

fn run_to_end(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => fail(&format!("cannot start threads: {error}")),
    }
}

fn no_signals(error: &std::io::Error) -> String {
    format!("cannot receive signals: {error}")
}

fn asked_log() -> anyhow::Result<Option<String>> {
    match std::env::var("HOSTLER_LOG") {
        Ok(asked) => Ok(Some(asked).filter(|asked| !asked.is_empty())),
        Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("HOSTLER_LOG is not UTF-8"),
        Err(std::env::VarError::NotPresent) => Ok(None),
    }
}

/// On standard error: lines for people on a terminal, JSON elsewhere.
fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("HOSTLER_LOG={filter:?} is no filter: try `debug`, or `info,gateway=debug`")
    })?;
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

/// How a server is called by these words; nothing where they call something else.
#[cfg(test)]
pub(crate) fn parse(words: Vec<OsString>) -> Result<Option<ServeArguments>, clap::Error> {
    Ok(match Arguments::try_parse_from(words)?.program {
        Program::Command(cli::Command::Serve(arguments)) => Some(arguments),
        _ => None,
    })
}
