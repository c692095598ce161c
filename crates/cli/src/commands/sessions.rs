//! `hostler sessions`: what earlier sessions did and left.

use crate::arguments::{AllowArguments, SessionsCommand};
use crate::check::data_directory;
use crate::commands::{end, start};
use crate::conversation::replay;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::render::activity::Activity;
use crate::render::changes;
use crate::render::facts::cost_line;
use crate::render::text::{one_line, safe};
use crate::review::{Review, discard, recover};
use crate::services::{How, Running, Services, StartOptions, Upstream};
use crate::signals::Signals;
use crate::style::Style;
use crate::terminal::Terminal;
use crate::tuning::Tuning;
use change_set::{Allowed, printable};
use control::Lifetime;
use domain::SessionId;
use serde_json::json;
use time::macros::format_description;

const TITLE_COLUMNS: usize = 50;

pub(crate) async fn sessions(
    command: &SessionsCommand,
    environment: &Environment,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let data = data_directory(command.data(), environment)?;
    let options = StartOptions {
        data,
        upstream: Upstream::None,
        pool: 0,
        lifetime: Lifetime::Host,
        tuning: Tuning::default(),
    };
    let running = start(services, &options, signals).await?;
    recover(&running.data, terminal);
    let outcome = match command {
        SessionsCommand::List { json, .. } => list(&running, *json, terminal).await,
        SessionsCommand::Show { session, .. } => show(&running, session, terminal).await,
        SessionsCommand::Diff { session, .. } => diff(&running, session, terminal).await,
        SessionsCommand::Apply { session, allow, .. } => {
            apply(&running, session, *allow, terminal, signals).await
        }
        SessionsCommand::Rm { sessions, .. } => remove(&running, sessions, terminal).await,
    };
    end(running, How::End, signals).await;
    outcome
}

async fn list(running: &Running, json: bool, terminal: &mut Terminal) -> Result<(), Failure> {
    let sessions = running
        .control
        .sessions()
        .await
        .map_err(|error| Failure::failed("session", error))?;
    if sessions.is_empty() && !json {
        terminal.line("no sessions");
        return Ok(());
    }
    let mut lines: Vec<String> = Vec::new();
    if !json {
        lines.push(format!(
            "{:<31}  {:<10}  {:<16}  TITLE",
            "ID", "STATUS", "CREATED (UTC)"
        ));
    }
    for session in &sessions {
        lines.push(if json {
            as_json(session).to_string()
        } else {
            as_row(session)
        });
    }
    lines.push(String::new());
    terminal.output(lines.join("\n").as_bytes());
    Ok(())
}

fn created(session: &store::Session) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
    session.created_at.format(&format).unwrap_or_default()
}

fn as_row(session: &store::Session) -> String {
    let title = one_line(session.title.as_deref().unwrap_or_default(), TITLE_COLUMNS);
    format!(
        "{:<31}  {:<10}  {:<16}  {title}",
        session.id.as_str(),
        session.status.as_str(),
        created(session)
    )
    .trim_end()
    .to_owned()
}

fn as_json(session: &store::Session) -> serde_json::Value {
    let workspace = session.workspace.as_ref().map(|path| path.to_string_lossy());
    json!({
        "id": session.id,
        "status": session.status,
        "title": session.title,
        "workspace": workspace,
        "model": session.model,
        "created_at": session.created_at.format(&time::format_description::well_known::Rfc3339).ok(),
    })
}

async fn show(running: &Running, id: &SessionId, terminal: &mut Terminal) -> Result<(), Failure> {
    let session = find(running, id).await?;
    let summary = running
        .control
        .summary(id)
        .await
        .map_err(|error| Failure::failed("session", error))?;
    let workspace = session.workspace.as_ref().map_or_else(
        || "none".to_owned(),
        |path| printable(path.as_os_str().as_encoded_bytes()),
    );
    let facts = [
        format!("session    {id}"),
        format!(
            "title      {}",
            one_line(session.title.as_deref().unwrap_or_default(), 200)
        ),
        format!("status     {}", session.status),
        format!("created    {} UTC", created(&session)),
        format!("workspace  {workspace}"),
        format!("model      {}", printable(session.model.as_bytes())),
        format!("cost       {}", cost_line(&summary, false)),
        String::new(),
    ];
    terminal.output((facts.join("\n") + "\n").as_bytes());
    let activity = Activity::past(terminal.style(), terminal.width());
    replay(&running.control, id, session.last_seq, activity, terminal).await?;
    if let Some(text) = &summary.result_text {
        terminal.output((safe(text) + "\n").as_bytes());
    }
    Ok(())
}

async fn diff(running: &Running, id: &SessionId, terminal: &mut Terminal) -> Result<(), Failure> {
    let session = find(running, id).await?;
    match Review::open(&*running.backend, &session, &running.data).await? {
        Some(review) if !review.set.is_empty() => review.write_diff(terminal).await,
        _ => {
            terminal.line("no changes");
            Ok(())
        }
    }
}

async fn apply(
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
async fn remove(running: &Running, ids: &[SessionId], terminal: &mut Terminal) -> Result<(), Failure> {
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
