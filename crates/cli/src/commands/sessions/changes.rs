//! `hostler sessions diff|apply`, and `rm` without a server: what sessions of `hostler run` left in a data directory that
//! nobody uses.

use crate::arguments::{AllowArguments, DataArgument};
use crate::check::data_directory;
use crate::commands::{end, start};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::render::changes;
use crate::review::{Review, discard, recover};
use crate::services::{How, Running, Services, StartOptions};
use crate::signals::Signals;
use crate::style::Style;
use crate::terminal::Terminal;
use change_set::Allowed;
use domain::SessionId;
use std::path::Path;
use store::{Instance, Store};

type Host<'a> = (&'a Environment, &'a dyn Services);

pub(super) async fn diff(
    id: &SessionId,
    data: &DataArgument,
    host: Host<'_>,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let running = open(std::slice::from_ref(id), data, host, terminal, signals).await?;
    let outcome = write_diff(&running, id, terminal).await;
    end(running, How::End, signals).await;
    outcome
}

pub(super) async fn apply(
    (id, allow): (&SessionId, AllowArguments),
    data: &DataArgument,
    host: Host<'_>,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let running = open(std::slice::from_ref(id), data, host, terminal, signals).await?;
    let outcome = apply_changes(&running, id, allow, terminal, signals).await;
    end(running, How::End, signals).await;
    outcome
}

pub(super) async fn remove(
    ids: &[SessionId],
    data: &DataArgument,
    host: Host<'_>,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let running = open(ids, data, host, terminal, signals).await?;
    let outcome = remove_all(&running, ids, terminal).await;
    end(running, How::End, signals).await;
    outcome
}

/// Starts what reads a sandbox's files. Sessions of a server are left to one: they may be at work.
async fn open(
    ids: &[SessionId],
    data: &DataArgument,
    (environment, services): Host<'_>,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<Running, Failure> {
    let data = data_directory(data, environment)?;
    if let Some(id) = of_a_server(ids, &data).await? {
        let message = format!(
            "session {id} is a server's, and no server runs on {}",
            data.display()
        );
        return Err(Failure::said("no_server", message)
            .hint(format!("start one: hostler serve --data {}", data.display())));
    }
    let options = StartOptions::to_look_at(data);
    let running = start(services, &options, signals).await?;
    recover(&running.data, terminal);
    Ok(running)
}

/// The first of these that is one; whatever else is wrong is found out later.
async fn of_a_server(ids: &[SessionId], data: &Path) -> Result<Option<SessionId>, Failure> {
    if !data.exists() {
        return Ok(None);
    }
    let Ok(instance) = Instance::open(data) else {
        return Ok(None);
    };
    let store = Store::open(instance).await;
    let store = store.map_err(|error| Failure::failed("store", error))?;
    let mut found = None;
    for id in ids {
        if store.session(id).await.is_ok_and(|row| row.hosting.is_some()) {
            found = Some(id.clone());
            break;
        }
    }
    store.close().await;
    Ok(found)
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
    terminal.lines(&changes::summary(&review.set, allowed, terminal.style()));
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

pub(crate) fn applied_line(count: usize, style: Style) -> String {
    match count {
        0 => "nothing was applied".to_owned(),
        1 => style.green("1 change is applied"),
        count => style.green(&format!("{count} changes are applied")),
    }
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
    first.map_or(Ok(()), |failure| Err(failure.hint("hostler sessions list")))
}

async fn find(running: &Running, id: &SessionId) -> Result<store::Session, Failure> {
    let found = running.control.session(id).await;
    found.map_err(|error| Failure::failed("session", error).hint("hostler sessions list"))
}
