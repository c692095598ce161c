//! `hostler sessions`: what sessions do and did, and what is said to them. They are a server's, asked over its API; where no
//! server runs, a data directory has them.

mod attach;
mod changes;
mod follow;
mod list;
mod logs;
mod place;
mod remove;
mod send;
mod show;
mod waits;

pub(crate) use follow::{OnSignal, Rested, follow};
pub(crate) use place::unread;

use crate::arguments::{ListArguments, LogsArguments, SessionsCommand, ShowArguments};
use crate::services::Services;
use place::Place;
use terminal::{Environment, Failure, Signals, Terminal};

pub(crate) async fn sessions(
    command: &SessionsCommand,
    environment: &Environment,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    match command {
        SessionsCommand::List(ListArguments { place, .. })
        | SessionsCommand::Show(ShowArguments { place, .. })
        | SessionsCommand::Logs(LogsArguments {
            place, follow: false, ..
        }) => {
            let place = Place::find(place, environment).await?;
            let outcome = tokio::select! {
                outcome = look(command, &place, terminal) => outcome,
                _ = signals.next() => Err(Failure::interrupted()),
            };
            place.close().await;
            outcome
        }
        SessionsCommand::Logs(arguments) => logs::follow(arguments, environment, terminal, signals).await,
        SessionsCommand::Send(arguments) => send::send(arguments, environment, terminal, signals).await,
        SessionsCommand::Attach(arguments) => attach::attach(arguments, environment, terminal, signals).await,
        SessionsCommand::Diff { session, data } => {
            changes::diff(session, data, (environment, services), terminal, signals).await
        }
        SessionsCommand::Apply { session, allow, data } => {
            let wanted = (session, *allow);
            changes::apply(wanted, data, (environment, services), terminal, signals).await
        }
        SessionsCommand::Rm(arguments) => {
            remove::remove(arguments, (environment, services), terminal, signals).await
        }
    }
}

/// What changes nothing.
async fn look(command: &SessionsCommand, place: &Place, terminal: &mut Terminal) -> Result<(), Failure> {
    match command {
        SessionsCommand::List(arguments) => list::list(arguments, place, terminal).await,
        SessionsCommand::Show(arguments) => show::show(arguments, place, terminal).await,
        SessionsCommand::Logs(arguments) => logs::logs(arguments, place, terminal).await,
        _ => Ok(()),
    }
}
