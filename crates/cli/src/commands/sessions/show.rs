//! `hostler sessions show`: the facts, the conversation, and what the session waits for.

use super::place::{Place, nothing, refused, row, unread};
use crate::arguments::ShowArguments;
use crate::render::activity::Activity;
use crate::render::facts::{cost_line, dollars, used};
use crate::render::waiting::{self, Waiting};
use crate::session::Session;
use change_set::printable;
use control::Summary;
use terminal::text::{minute, one_line, safe};
use terminal::{Failure, Terminal};

const COLUMNS: usize = 200;

type Fact = (&'static str, String);

pub(super) async fn show(
    arguments: &ShowArguments,
    place: &Place,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let id = &arguments.session;
    let facts = match place {
        Place::Server(server) => {
            let raw = server.client.session(id).await;
            let raw = raw.map_err(|error| refused(server, error))?;
            let session = Session::read(&raw).map_err(|error| unread(server, &error))?;
            of_server(&session)
        }
        Place::Store(store) => {
            let row = row(store, id, &arguments.place).await?;
            let summary = Summary::of(store, id).await;
            let summary = summary.map_err(|error| Failure::failed("session", error))?;
            of_row(&row, &summary)
        }
        Place::Nothing { data } => return Err(nothing(id, data)),
    };
    let lines = facts
        .into_iter()
        .map(|(name, value)| format!("{name:<11} {value}\n"));
    terminal.output((lines.collect::<String>() + "\n").as_bytes());
    let (style, width) = (terminal.out_style(), terminal.out_width().unwrap_or(COLUMNS));
    let mut activity = Activity::whole(style, width);
    let mut waits = Waiting::default();
    let mut pages = place.events(id, &[]);
    while let Some(page) = pages.next().await? {
        for event in page.iter().filter_map(|entry| entry.event.as_ref()) {
            waits.take(event);
            print(terminal, &activity.show(event));
        }
    }
    if let Some(words) = activity.last_words() {
        print(terminal, &[safe(&words)]);
    }
    let calls = waits.calls();
    if !calls.is_empty() {
        print(terminal, &[String::new()]);
        let lines = waiting::lines(&calls, &arguments.place.named(id), style, width);
        print(terminal, &lines);
    }
    Ok(())
}

fn print(terminal: &mut Terminal, lines: &[String]) {
    if !lines.is_empty() {
        terminal.output((lines.join("\n") + "\n").as_bytes());
    }
}

fn of_server(session: &Session) -> Vec<Fact> {
    let mut facts = of_any(session);
    let hostler = session.hostler.as_ref();
    let sandbox = hostler.and_then(|facts| facts.sandbox.as_ref());
    facts.push((
        "sandbox",
        sandbox.map_or_else(
            || "none yet".to_owned(),
            |sandbox| format!("{} ({})", one_line(&sandbox.state, 20), one_line(&sandbox.id, 40)),
        ),
    ));
    if let Some(budget) = &session.budget {
        facts.push(("budget", dollars(&budget.max_list_cost)));
    }
    facts.push(("cost", used(&session.usage)));
    if let Some(cost) = hostler.and_then(|facts| facts.cost.as_ref()) {
        let time = format!(
            "{} for {:.0} s of a sandbox",
            dollars(&cost.sandbox_time),
            cost.sandbox_seconds
        );
        facts.push(("", time));
    }
    facts
}

fn of_row(row: &store::Session, summary: &Summary) -> Vec<Fact> {
    let mut facts = of_any(&Session::of_row(row));
    if row.hosting.is_none() {
        let workspace = row.workspace.as_ref().map_or_else(
            || "none".to_owned(),
            |path| printable(path.as_os_str().as_encoded_bytes()),
        );
        facts.push(("workspace", workspace));
        facts.push(("model", printable(row.model.as_bytes())));
    }
    facts.push(("cost", cost_line(summary, false)));
    facts
}

fn of_any(session: &Session) -> Vec<Fact> {
    let title = session.title.as_deref().unwrap_or_default();
    let mut facts = vec![
        ("session", session.id.to_string()),
        ("title", one_line(title, COLUMNS)),
        ("status", one_line(session.standing(), 20)),
        ("created", format!("{} UTC", minute(session.created_at))),
    ];
    if let Some(agent) = &session.agent {
        let model = agent.model.as_ref().map_or("", |model| model.id.as_str());
        let named = format!(
            "{} ({}, version {}, {model})",
            agent.name, agent.id, agent.version
        );
        facts.push(("agent", one_line(&named, COLUMNS)));
    }
    if let Some(environment) = &session.environment_id {
        facts.push(("environment", one_line(environment, 64)));
    }
    for (number, (key, value)) in session.metadata.iter().enumerate() {
        let name = if number == 0 { "metadata" } else { "" };
        facts.push((name, one_line(&format!("{key}={value}"), COLUMNS)));
    }
    facts
}
