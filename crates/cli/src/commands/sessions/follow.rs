//! One turn of a server's session, as it is followed from a terminal until the session rests. Who leaves ends nothing: the
//! agent goes on.

use super::place::refused;
use crate::entry::Entry;
use crate::reach::Server;
use crate::render::activity::Activity;
use crate::tail::{Tail, Told};
use control::Idle;
use domain::{EventId, SessionId};
use std::time::Duration;
use terminal::{Failure, Signals, Terminal};
use wire::{Body, Event, RetryStatus, SessionError};

/// A program that waits for an agent is not stuck for ever because of a server.
const PATIENCE: Duration = Duration::from_mins(10);

/// What Ctrl-C does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnSignal {
    Leave,
    /// The first interrupts the agent, another one leaves.
    Interrupt,
}

/// How a session came to rest.
pub(crate) struct Rested {
    pub(crate) idle: Idle,
    /// The agent's last words.
    pub(crate) words: Option<String>,
    /// By the one who follows.
    pub(crate) interrupted: bool,
}

/// Tells when a session rests, event by event.
#[derive(Default)]
pub(super) struct Rest {
    error: Option<SessionError>,
}

/// Follows a session from after an event until it rests; each event goes to standard output where `json` is wanted.
pub(crate) async fn follow(
    server: Box<Server>,
    session: &SessionId,
    after: Option<EventId>,
    (on_signal, json): (OnSignal, bool),
    (terminal, signals): (&mut Terminal, &mut Signals),
) -> Result<Rested, Failure> {
    let mut tail = Tail::new(server, session, after, PATIENCE);
    let mut activity = Activity::new(terminal.style(), terminal.width());
    let mut rest = Rest::default();
    let mut interrupted = false;
    tokio::select! {
        opened = tail.open() => opened.map_err(|error| refused(&tail.server, error))?,
        _ = signals.next() => return Err(left(&tail.server, session)),
    }
    loop {
        terminal.status(activity.status());
        let told = tokio::select! {
            told = tail.next() => told?,
            asked = signals.next() => {
                if on_signal == OnSignal::Leave || interrupted || asked.now {
                    terminal.quiet();
                    return Err(left(&tail.server, session));
                }
                interrupted = true;
                terminal.line("interrupting the agent. Ctrl-C again leaves it");
                tokio::select! {
                    sent = interrupt(&tail.server, session) => sent.map(drop)?,
                    _ = signals.next() => return Err(left(&tail.server, session)),
                }
                continue;
            }
        };
        match told {
            Some(Told::Event(entry)) => {
                if json {
                    terminal.output(format!("{}\n", entry.json).as_bytes());
                }
                let Some(event) = &entry.event else { continue };
                if !json {
                    terminal.lines(&activity.show(event));
                }
                if let Some(idle) = rest.take(event) {
                    terminal.quiet();
                    let words = activity.last_words();
                    return Ok(Rested {
                        idle,
                        words,
                        interrupted,
                    });
                }
            }
            Some(Told::Away(reason)) => terminal.line(&format!("{reason}; trying again")),
            None => {
                terminal.quiet();
                return Err(Failure::said("session_ended", "the session has ended"));
            }
        }
    }
}

/// Ends the present turn; answers the event that says so.
pub(super) async fn interrupt(server: &Server, session: &SessionId) -> Result<Option<EventId>, Failure> {
    let interrupt = Body::UserInterrupt {
        session_thread_id: None,
    };
    let sent = server.client.send(session, &[interrupt]).await;
    let sent = sent.map_err(|error| refused(server, error))?;
    let entry = sent.last().and_then(|raw| Entry::of_json(raw.get()).ok());
    Ok(entry.and_then(|entry| entry.id))
}

fn left(server: &Server, session: &SessionId) -> Failure {
    let session = server.named(session);
    Failure::said("left", "not waited for any more; the agent goes on").hint(format!(
        "hostler sessions attach {session} follows it again, hostler sessions send {session} --interrupt ends its turn"
    ))
}

impl Rest {
    /// How it rests, if it does now.
    pub(super) fn take(&mut self, event: &Event) -> Option<Idle> {
        match &event.body {
            Body::SessionStatusRunning => self.error = None,
            Body::SessionError { error } if error.retry_status != RetryStatus::Retrying => {
                self.error = Some(error.clone());
            }
            Body::SessionStatusIdle { stop_reason, .. } => {
                return Some(Idle {
                    stop_reason: Some(stop_reason.clone()),
                    error: self.error.take(),
                    terminated: false,
                });
            }
            Body::SessionStatusTerminated | Body::SessionDeleted => {
                return Some(Idle {
                    stop_reason: None,
                    error: self.error.take(),
                    terminated: true,
                });
            }
            _ => {}
        }
        None
    }
}
