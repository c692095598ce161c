//! `hostler sessions send`: a message, an interrupt, or answers; then what the agent makes of it.

use super::follow::{OnSignal, Rested, follow};
use super::place::{self, refused, unread};
use super::waits::waits;
use crate::arguments::SendArguments;
use crate::check::read_prompt;
use crate::entry::Entry;
use crate::reach::Server;
use crate::render::facts::used;
use crate::render::waiting;
use crate::session::Session;
use crate::trouble;
use control::Idle;
use domain::SessionId;
use terminal::{Environment, Failure, Signals, Terminal};
use wire::{Body, Confirmation, ContentBlock, StopReason};

pub(super) async fn send(
    arguments: &SendArguments,
    environment: &Environment,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let text = match &arguments.text {
        Some(text) => Some(read_prompt(text, signals).await?),
        None => None,
    };
    let events = events(arguments, text);
    let server = place::server(&arguments.place, environment)?;
    let sent = tokio::select! {
        sent = post(&server, &arguments.session, &events) => sent?,
        _ = signals.next() => return Err(Failure::interrupted().hint(may_be_there(&server, &arguments.session))),
    };
    if arguments.json {
        for entry in &sent {
            terminal.output(format!("{}\n", entry.json).as_bytes());
        }
    }
    if arguments.no_wait {
        if !arguments.json {
            terminal.line("sent");
        }
        return Ok(());
    }
    let waiting = tokio::select! {
        waiting = look(&server, arguments, &sent) => waiting?,
        _ = signals.next() => return Err(Failure::interrupted()),
    };
    let (idle, followed) = match waiting {
        Now::Follow => {
            let after = sent.last().and_then(|entry| entry.id.clone());
            let id = &arguments.session;
            let how = (OnSignal::Leave, arguments.json);
            let Rested { idle, words, .. } =
                follow(server.clone(), id, after, how, (terminal, signals)).await?;
            if !arguments.json {
                terminal.answer(words.as_deref());
            }
            (idle, true)
        }
        Now::Rests(idle) => (idle, false),
    };
    tokio::select! {
        settled = settle(&server, &arguments.session, (&idle, followed), terminal) => settled,
        _ = signals.next() => Err(Failure::interrupted()),
    }
}

/// In the order in which they are acted on.
fn events(arguments: &SendArguments, text: Option<String>) -> Vec<Body> {
    let mut events = Vec::new();
    if arguments.interrupt {
        events.push(Body::UserInterrupt {
            session_thread_id: None,
        });
    }
    let confirmations = [
        (&arguments.allow, Confirmation::Allow),
        (&arguments.deny, Confirmation::Deny),
    ];
    for (ids, result) in confirmations {
        events.extend(ids.iter().map(|id| Body::UserToolConfirmation {
            tool_use_id: id.clone(),
            result,
            deny_message: arguments.message.clone().filter(|_| result == Confirmation::Deny),
            session_thread_id: None,
        }));
    }
    let content = text.map(|text| vec![ContentBlock::text(text)]);
    match (&arguments.result, content) {
        (Some(id), content) => events.push(Body::UserCustomToolResult {
            custom_tool_use_id: id.clone(),
            content,
            is_error: arguments.failed.then_some(true),
            session_thread_id: None,
        }),
        (None, Some(content)) => events.push(Body::UserMessage { content }),
        (None, None) => {}
    }
    events
}

async fn post(server: &Server, id: &SessionId, events: &[Body]) -> Result<Vec<Entry>, Failure> {
    let sent = server.client.send(id, events).await.map_err(|error| {
        let unsure = error.may_have_arrived();
        let failure = refused(server, error);
        if unsure {
            failure.hint(may_be_there(server, id))
        } else {
            failure
        }
    })?;
    let entries: Result<_, _> = sent.iter().map(|raw| Entry::of_json(raw.get())).collect();
    entries.map_err(|error| unread(server, &error))
}

fn may_be_there(server: &Server, session: &SessionId) -> String {
    let session = server.named(session);
    format!("it may have arrived: hostler sessions logs {session} says whether it did")
}

/// What comes of what was sent.
enum Now {
    /// The session is at work on it, or will be.
    Follow,
    /// It rests, and goes on resting.
    Rests(Idle),
}

async fn look(server: &Server, arguments: &SendArguments, sent: &[Entry]) -> Result<Now, Failure> {
    let is_queued = |entry: &Entry| {
        entry
            .event
            .as_ref()
            .is_some_and(|event| event.processed_at.is_none())
    };
    let only_interrupts = sent.iter().all(|entry| entry.kind == "user.interrupt");
    if !only_interrupts && !sent.iter().any(is_queued) {
        return Ok(Now::Follow);
    }
    let id = &arguments.session;
    let raw = server.client.session(id).await;
    let raw = raw.map_err(|error| refused(server, error))?;
    let session = Session::read(&raw).map_err(|error| unread(server, &error))?;
    if session.status != "idle" {
        return Ok(Now::Follow);
    }
    let waiting = waits(server, id).await;
    let waiting = waiting.map_err(|error| refused(server, error))?;
    let rests = |stop_reason| {
        Ok(Now::Rests(Idle {
            stop_reason: Some(stop_reason),
            ..Idle::default()
        }))
    };
    if !waiting.ids().is_empty() {
        // A message does not answer what is asked: it waits too.
        let event_ids = waiting.ids().to_vec();
        return rests(StopReason::RequiresAction { event_ids });
    }
    if only_interrupts {
        return rests(StopReason::EndTurn);
    }
    Ok(Now::Follow)
}

/// Of the whole session. Who cannot tell it now keeps nobody from going on.
async fn cost(server: &Server, session: &SessionId, terminal: &mut Terminal) {
    if let Ok(raw) = server.client.session(session).await
        && let Ok(session) = Session::read(&raw)
    {
        let line = terminal
            .style()
            .dim(&format!("the session so far: {}", used(&session.usage)));
        terminal.line(&line);
    }
}

/// What a turn cost, if there was one, and how it ended.
async fn settle(
    server: &Server,
    id: &SessionId,
    (idle, followed): (&Idle, bool),
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    if followed {
        cost(server, id, terminal).await;
    }
    if let Some(StopReason::RequiresAction { .. }) = &idle.stop_reason {
        let waiting = waits(server, id).await;
        let waiting = waiting.map_err(|error| refused(server, error))?;
        let (style, width) = (terminal.style(), terminal.width());
        let lines = waiting::lines(&waiting.calls(), &server.named(id), style, width);
        terminal.lines(&lines);
        return Err(Failure::said("requires_action", "the agent waits for an answer"));
    }
    trouble::of_hosted(idle, &server.named(id)).map_or(Ok(()), Err)
}
