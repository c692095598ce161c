//! `hostler sessions diff|apply`, and `rm` without a server: what sessions of `hostler run` left in a data directory that
//! nobody uses.

use super::place::nothing;
use crate::arguments::{AllowArguments, DataArgument};
use crate::check::data_directory;
use crate::commands::{end, explain, start};
use crate::reach::quoted;
use crate::render::changes::{applied_line, summary};
use crate::review::{Review, discard, recover};
use crate::services::{How, Running, Services, StartOptions};
use change_set::Allowed;
use domain::SessionId;
use store::{Instance, Store};
use terminal::{Environment, Failure, Signals, Terminal};

type Host<'a> = (&'a Environment, &'a dyn Services);

pub(super) async fn diff(
    id: &SessionId,
    data: &DataArgument,
    (environment, services): Host<'_>,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let instance = hold(id, data, environment)?;
    let running = open(std::slice::from_ref(id), instance, services, terminal, signals).await?;
    let outcome = tokio::select! {
        outcome = write_diff(&running, id, terminal) => outcome,
        _ = signals.next() => Err(Failure::interrupted()),
    };
    end(running, How::End, signals).await;
    outcome
}

pub(super) async fn apply(
    (id, allow): (&SessionId, AllowArguments),
    data: &DataArgument,
    (environment, services): Host<'_>,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let instance = hold(id, data, environment)?;
    let running = open(std::slice::from_ref(id), instance, services, terminal, signals).await?;
    let outcome = apply_changes(&running, id, allow, terminal, signals).await;
    end(running, How::End, signals).await;
    outcome
}

pub(super) async fn remove(
    ids: &[SessionId],
    instance: Instance,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let running = open(ids, instance, services, terminal, signals).await?;
    let outcome = remove_all(&running, ids, terminal).await;
    end(running, How::End, signals).await;
    outcome
}

/// The data directory, while nobody else uses it.
fn hold(id: &SessionId, data: &DataArgument, environment: &Environment) -> Result<Instance, Failure> {
    let data = data_directory(data, environment)?;
    if !data.exists() {
        // Whatever server is named, changes are of this machine.
        return Err(nothing(id, &data).hint("name the data directory that has it: --data DIR"));
    }
    Instance::open(&data).map_err(|error| explain(error.into()))
}

/// Starts what reads a sandbox's files. Sessions of a server are left to one: they may be at work.
async fn open(
    ids: &[SessionId],
    instance: Instance,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<Running, Failure> {
    let data = instance.directory().to_owned();
    if let Some(id) = of_a_server(ids, instance).await? {
        let message = format!(
            "session {id} is a server's, and no server runs on {}",
            data.display()
        );
        return Err(Failure::said("no_server", message).hint(format!(
            "start one: hostler serve --data {}",
            quoted(&data.to_string_lossy())
        )));
    }
    let options = StartOptions::to_look_at(data);
    let running = start(services, &options, signals).await?;
    recover(&running.data, terminal);
    Ok(running)
}

/// The first of these that is one. Those that are not there are told of later, with the others.
async fn of_a_server(ids: &[SessionId], instance: Instance) -> Result<Option<SessionId>, Failure> {
    let store = Store::open(instance).await;
    let store = store.map_err(|error| explain(error.into()))?;
    let mut found = Ok(None);
    for id in ids {
        match store.session(id).await {
            Ok(row) if row.hosting.is_some() => found = Ok(Some(id.clone())),
            Ok(_) | Err(store::Error::NoSession { .. }) => continue,
            Err(error) => found = Err(Failure::failed("store", error)),
        }
        break;
    }
    store.close().await;
    found
}

async fn write_diff(running: &Running, id: &SessionId, terminal: &mut Terminal) -> Result<(), Failure> {
    let session = find(running, id).await?;
    match Review::open(&*running.backend, &session, &running.data).await? {
        Some(review) if !review.set.is_empty() => review.write_diff(terminal).await,
        _ => {
            terminal.line("no changes");
            Ok(())
        }
    }
}

async fn apply_changes(
    running: &Running,
    id: &SessionId,
    allow: AllowArguments,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let session = find(running, id).await?;
    let allowed = Allowed::from(allow);
    let Some(review) = Review::open(&*running.backend, &session, &running.data).await? else {
        terminal.line("no changes");
        return Ok(());
    };
    if review.set.is_empty() {
        terminal.line("no changes");
        return Ok(());
    }
    terminal.lines(&summary(&review.set, allowed, terminal.style()));
    let applied = review.apply(allowed, signals).await?;
    let line = applied_line(applied.paths.len(), terminal.style());
    terminal.line(&line);
    if let Some(leftover) = applied.leftover {
        terminal.line(&format!("left behind: {}", leftover.display()));
    }
    if review.set.select(allowed).withheld.is_empty() {
        drop(review);
        return discard(&*running.backend, &session).await;
    }
    Ok(())
}

/// Goes on after one that fails.
async fn remove_all(running: &Running, ids: &[SessionId], terminal: &mut Terminal) -> Result<(), Failure> {
    let mut first = None;
    for id in ids {
        let removed = running
            .control
            .remove(id)
            .await
            .map_err(|error| Failure::failed("session", error));
        let forgotten =
            change_set::forget(&running.data, id).map_err(|error| Failure::failed("session", error));
        match removed.and(forgotten) {
            Ok(()) => terminal.line(&format!("removed {id}")),
            Err(failure) if first.is_none() => first = Some(failure),
            Err(failure) => terminal.line(&failure.message),
        }
    }
    first.map_or(Ok(()), |failure| Err(failure.hint(list(running))))
}

async fn find(running: &Running, id: &SessionId) -> Result<store::Session, Failure> {
    let found = running.control.session(id).await;
    found.map_err(|error| Failure::failed("session", error).hint(list(running)))
}

fn list(running: &Running) -> String {
    let data = quoted(&running.data.to_string_lossy());
    format!("hostler sessions list --data {data} has what is there")
}
