//! `hostler sessions rm`: goes on after one that fails.

use super::changes;
use super::follow::{Rest, interrupt};
use super::place::{nothing, refused};
use crate::arguments::RemoveArguments;
use crate::reach::{Reach, Server};
use crate::services::Services;
use crate::session::Session;
use crate::tail::{Tail, Told};
use client::ClientError;
use domain::SessionId;
use std::time::Duration;
use terminal::{Environment, Failure, Signals, Terminal};

/// An interrupt is bounded: a turn that was interrupted ends.
const INTERRUPT: Duration = Duration::from_mins(2);

pub(super) async fn remove(
    arguments: &RemoveArguments,
    (environment, services): (&Environment, &dyn Services),
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let place = &arguments.place;
    match Reach::find(&place.data, place.workspace.as_ref(), environment)? {
        Reach::Server(server) => tokio::select! {
            outcome = over_the_api(&server, arguments, terminal) => outcome,
            _ = signals.next() => Err(Failure::interrupted()),
        },
        Reach::Directory(instance) => {
            let ids = &arguments.sessions;
            changes::remove(ids, instance, services, terminal, signals).await
        }
        Reach::Nothing { data } => arguments
            .sessions
            .first()
            .map_or(Ok(()), |id| Err(nothing(id, &data))),
    }
}

async fn over_the_api(
    server: &Server,
    arguments: &RemoveArguments,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let mut first = None;
    for id in &arguments.sessions {
        match one(server, id, arguments.force, terminal).await {
            Ok(()) => terminal.line(&format!("removed {id}")),
            Err(failure) if first.is_none() => first = Some(failure),
            Err(failure) => terminal.line(&failure.message),
        }
    }
    first.map_or(Ok(()), Err)
}

async fn one(server: &Server, id: &SessionId, force: bool, terminal: &mut Terminal) -> Result<(), Failure> {
    let Err(error) = server.client.delete_session(id).await else {
        return Ok(());
    };
    let is_running =
        matches!(&error, ClientError::Refused { code: Some(code), .. } if code == "session_running");
    if !is_running {
        return Err(refused(server, error));
    }
    if !force {
        return Err(server.explain(error).hint("--force interrupts it first"));
    }
    terminal.status("interrupting the agent");
    if let Ok(outcome) = tokio::time::timeout(INTERRUPT, stop(server, id)).await {
        outcome?;
    } else {
        let message = format!("session {id} did not stop within {} s", INTERRUPT.as_secs());
        return Err(Failure::said("session_running", message).hint("try again"));
    }
    terminal.quiet();
    let deleted = server.client.delete_session(id).await;
    deleted.map_err(|error| refused(server, error))
}

/// Ends the turn, and waits until it has.
async fn stop(server: &Server, id: &SessionId) -> Result<(), Failure> {
    let after = interrupt(server, id).await?;
    let raw = server.client.session(id).await;
    let raw = raw.map_err(|error| refused(server, error))?;
    if Session::read(&raw).is_ok_and(|session| session.status == "idle") {
        return Ok(());
    }
    let mut tail = Tail::new(Box::new(server.clone()), id, after, INTERRUPT);
    let mut rest = Rest::default();
    while let Some(told) = tail.next().await? {
        if let Told::Event(entry) = told
            && entry
                .event
                .as_ref()
                .is_some_and(|event| rest.take(event).is_some())
        {
            break;
        }
    }
    Ok(())
}
