//! The command line: what a person types, and what they get to see.
//!
//! The answer goes to standard output, progress to standard error. Text that an agent wrote never reaches a terminal as
//! it is. A call is checked before anything is started; whatever fails says what to do next; the exit code is 0 when
//! it is done, 1 when it failed, 2 for a wrong call.

mod arguments;
mod check;
mod commands;
mod conversation;
mod entry;
mod example;
mod layers;
mod outcome;
mod reach;
mod render;
mod review;
mod services;
mod session;
mod settings;
mod tail;
#[cfg(test)]
mod testing;
mod trouble;
mod versions;

pub use arguments::{
    AllowArguments, AttachArguments, Command, ConfigCommand, DEFAULT_MODEL, DataArgument, DoctorArguments,
    KeysCommand, ListArguments, LogsArguments, PlaceArguments, RemoveArguments, RunArguments, RuntimeName,
    RuntimesCommand, SendArguments, ServeArguments, SessionsCommand, ShowArguments,
};
pub use commands::serve::APART;
pub use configuration::{EgressTuning, JailerStart, ModelTuning, Tuning};
pub use services::{How, Running, Services, Shutdown, StartError, StartOptions, Upstream};
pub use settings::ServeSettings;
pub use terminal::{Asked, Environment, Exit, Failure, Kind, Signals, Terminal};

use std::process::ExitCode;

/// Does what the command line asks for.
pub async fn main(
    command: &Command,
    environment: &Environment,
    services: &dyn Services,
    terminal: Terminal,
    signals: Signals,
) -> ExitCode {
    ExitCode::from(execute(command, environment, services, terminal, signals).await)
}

/// [`main`], with the exit code as a number.
pub async fn execute(
    command: &Command,
    environment: &Environment,
    services: &dyn Services,
    mut terminal: Terminal,
    mut signals: Signals,
) -> u8 {
    let (terminal, signals) = (&mut terminal, &mut signals);
    let outcome = match command {
        Command::Run(arguments) => {
            commands::run::run(arguments, environment, services, terminal, signals).await
        }
        Command::Serve(arguments) => match ServeSettings::find(arguments, environment) {
            Ok(settings) => commands::serve::serve(&settings, services, terminal, signals).await,
            Err(failure) => Err(failure),
        },
        Command::Config(command) => commands::config::config(command, environment, terminal),
        Command::Sessions(command) => {
            commands::sessions::sessions(command, environment, services, terminal, signals).await
        }
        Command::Keys(command) => commands::keys::keys(command, environment, terminal, signals).await,
        Command::Runtimes(command) => {
            commands::runtimes::runtimes(command, environment, terminal, signals).await
        }
        Command::Doctor(arguments) => {
            commands::doctor::doctor(arguments, environment, services, terminal, signals).await
        }
    };
    terminal.quiet();
    match outcome {
        Ok(()) => 0,
        Err(failure) => failure.tell(terminal),
    }
}

/// Serves until it is told to end. What goes wrong is told on a terminal, and else in the log.
pub async fn serve(
    settings: &ServeSettings,
    services: &dyn Services,
    mut terminal: Terminal,
    mut signals: Signals,
) -> ExitCode {
    let served = commands::serve::serve(settings, services, &mut terminal, &mut signals).await;
    terminal.quiet();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => tell(&failure, &mut terminal),
    }
}

/// Tells of the failure of a server.
pub fn tell(failure: &Failure, terminal: &mut Terminal) -> ExitCode {
    ExitCode::from(if terminal.err_is_terminal() {
        failure.tell(terminal)
    } else {
        failure.log()
    })
}
