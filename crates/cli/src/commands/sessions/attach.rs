//! `hostler sessions attach`: a conversation at a terminal. What the session does is shown as it comes; a line that is typed
//! answers what is asked, or is the next message. Leaving ends nothing.

mod answer;

use super::place::{self, refused, unread};
use super::waits::waits;
use crate::arguments::AttachArguments;
use crate::check::MAX_PROMPT_BYTES;
use crate::entry::Entry;
use crate::reach::Server;
use crate::render::activity::{Activity, call};
use crate::render::waiting::{Asks, Waiting};
use crate::session::Session;
use crate::tail::{Tail, Told};
use answer::{Said, understood};
use client::{ClientError, EventQuery};
use domain::{EventId, SessionId};
use std::collections::HashSet;
use std::time::Duration;
use terminal::input::Lines;
use terminal::text::{one_line, safe};
use terminal::{Environment, Exit, Failure, Signals, Terminal};
use wire::page::Order;
use wire::{Body, Event};

/// Of the conversation so far that is shown.
const EVENTS: usize = 50;
/// Whoever sits there sees that the server is away, and leaves when they have waited enough.
const ENDLESS: Duration = Duration::MAX;
/// Before a server that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(2);

struct Talk<'a> {
    id: &'a SessionId,
    tail: Tail,
    activity: Activity,
    waiting: Waiting,
    /// What waits and was looked for: it is not looked for again.
    sought: HashSet<EventId>,
    /// Whether the last look was in vain.
    unanswered: bool,
    /// Sent from here: they are on the screen already.
    own: HashSet<EventId>,
    working: bool,
    /// Ctrl-C was typed since the agent began to work.
    interrupted: bool,
    terminal: &'a mut Terminal,
}

pub(super) async fn attach(
    arguments: &AttachArguments,
    environment: &Environment,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let id = &arguments.session;
    if !terminal.can_ask() {
        let named = arguments.place.named(id);
        return Err(Failure {
            exit: Exit::Usage,
            ..Failure::said("usage", "attach needs a terminal").hint(format!(
                "hostler sessions send {named} TEXT says something, hostler sessions logs {named} --follow shows what \
                 comes"
            ))
        });
    }
    let server = place::server(&arguments.place, environment)?;
    let tail = Tail::new(server, id, None, ENDLESS);
    let activity = Activity::whole(terminal.style(), terminal.width());
    let mut talk = Talk {
        id,
        tail,
        activity,
        waiting: Waiting::default(),
        sought: HashSet::new(),
        unanswered: false,
        own: HashSet::new(),
        working: false,
        interrupted: false,
        terminal,
    };
    let begun = tokio::select! {
        begun = talk.begin() => begun,
        _ = signals.next() => return Ok(()),
    };
    begun?;
    let lines = Lines::start(MAX_PROMPT_BYTES);
    let mut lines = lines.map_err(|error| Failure::failed("terminal", error))?;
    let outcome = talk.go_on(&mut lines, signals).await;
    talk.terminal.no_prompt();
    let goes_on = talk.working;
    if outcome? && goes_on {
        let named = arguments.place.named(id);
        let line = format!("the agent goes on; hostler sessions attach {named} comes back to it");
        talk.terminal.line(&line);
    }
    Ok(())
}

impl Talk<'_> {
    /// The end of the conversation so far.
    async fn begin(&mut self) -> Result<(), Failure> {
        let server = self.tail.server.clone();
        let raw = server.client.session(self.id).await;
        let raw = raw.map_err(|error| refused(&server, error))?;
        let session = Session::read(&raw).map_err(|error| unread(&server, &error))?;
        let query = EventQuery {
            types: Vec::new(),
            order: Order::Desc,
            limit: EVENTS,
        };
        let page = server.client.events(self.id, &query, None).await;
        let page = page.map_err(|error| refused(&server, error))?;
        let entries: Result<Vec<Entry>, _> = page
            .data
            .iter()
            .rev()
            .map(|raw| Entry::of_json(raw.get()))
            .collect();
        let entries = entries.map_err(|error| unread(&server, &error))?;
        let title = one_line(session.title.as_deref().unwrap_or_default(), 80);
        let head = format!("{} {} {title}", self.id, session.standing());
        let style = self.terminal.style();
        self.terminal.line(&style.dim(head.trim_end()));
        if page.next_page.is_some() {
            let line = format!(
                "… hostler sessions show {} has what was before",
                server.named(self.id)
            );
            self.terminal.line(&style.dim(&line));
        }
        self.working = matches!(session.status.as_str(), "running" | "rescheduling");
        let last = entries.last().and_then(|entry| entry.id.clone());
        self.tail = Tail::new(server, self.id, last, ENDLESS);
        let opened = self.tail.open().await;
        opened.map_err(|error| refused(&self.tail.server, error))?;
        for event in entries.iter().filter_map(|entry| entry.event.as_ref()) {
            self.show(event);
        }
        self.terminal
            .line(&style.dim("Ctrl-C interrupts the agent, and leaves where it rests; Ctrl-D leaves"));
        Ok(())
    }

    /// Until the user leaves, which it says, or the session ends.
    async fn go_on(&mut self, lines: &mut Lines, signals: &mut Signals) -> Result<bool, Failure> {
        loop {
            self.ask();
            let server = self.tail.server.clone();
            let pause = if self.unanswered { PAUSE } else { Duration::ZERO };
            tokio::select! {
                found = look(&server, self.id, pause), if self.misses_questions() => self.found(&server, found)?,
                told = self.tail.next() => match told? {
                    Some(Told::Event(entry)) => {
                        if let Some(event) = &entry.event {
                            self.show(event);
                        }
                    }
                    Some(Told::Away(reason)) => self.terminal.line(&format!("{reason}; trying again")),
                    None => return Ok(false),
                },
                line = lines.next() => match line {
                    Some(line) => {
                        self.terminal.typed();
                        let line = line.map_err(|error| Failure::failed("terminal", error))?;
                        let body = self.typed(&String::from_utf8_lossy(&line));
                        if let Some(body) = body
                            && self.send(body, signals).await?
                        {
                            return Ok(true);
                        }
                    }
                    None => return Ok(true),
                },
                asked = signals.next() => {
                    if asked.now || !self.working || self.interrupted {
                        return Ok(true);
                    }
                    self.terminal.line("interrupting the agent; Ctrl-C again leaves");
                    let interrupt = Body::UserInterrupt { session_thread_id: None };
                    if self.send(interrupt, signals).await? {
                        return Ok(true);
                    }
                    self.interrupted = true;
                }
            }
        }
    }

    fn show(&mut self, event: &Event) {
        if !self.own.remove(&event.id) {
            let lines = self.activity.show(event);
            self.terminal.lines(&lines);
        }
        self.waiting.take(event);
        match &event.body {
            Body::SessionStatusRunning | Body::SessionStatusRescheduled => self.working = true,
            Body::SessionStatusIdle { .. } => {
                (self.working, self.interrupted) = (false, false);
            }
            _ => {}
        }
    }

    /// Whether calls wait that were made before what is shown.
    fn misses_questions(&self) -> bool {
        let calls = self.waiting.calls();
        let is_known = |id: &EventId| self.sought.contains(id) || calls.iter().any(|call| call.id == *id);
        !self.waiting.ids().iter().all(is_known)
    }

    fn found(&mut self, server: &Server, found: Result<Waiting, ClientError>) -> Result<(), Failure> {
        match found {
            Ok(found) => {
                self.sought.extend(self.waiting.ids().iter().cloned());
                self.waiting = found;
                self.unanswered = false;
            }
            Err(error) if error.may_pass() => {
                let failure = server.explain(error);
                if !std::mem::replace(&mut self.unanswered, true) {
                    self.terminal.line(&format!("{}; trying again", failure.message));
                }
            }
            Err(error) => return Err(refused(server, error)),
        }
        Ok(())
    }

    fn ask(&mut self) {
        let style = self.terminal.style();
        let asked = self.waiting.calls().first().map(|asked| {
            let width = self.terminal.width().saturating_sub(30);
            (call(&asked.name, &asked.input, style, width), asked.asks)
        });
        let text = match asked {
            Some((call, Asks::Confirmation)) => format!("{call} {} ", style.yellow("run it? [y/n REASON]")),
            Some((call, Asks::Result)) => format!("{call} {} ", style.yellow("the result?")),
            None if self.working => style.dim("(working) > "),
            None => "> ".to_owned(),
        };
        self.terminal.prompt(&text);
    }

    /// What a line comes to.
    fn typed(&mut self, line: &str) -> Option<Body> {
        let calls = self.waiting.calls();
        match understood(line, calls.first().copied()) {
            Said::Nothing => None,
            Said::Unclear => {
                self.terminal
                    .line("y lets it run, n does not; n and a reason tells the agent why");
                None
            }
            Said::Something(body) => Some(body),
        }
    }

    /// Whether the user left meanwhile. What is refused is said, and the conversation goes on.
    async fn send(&mut self, body: Body, signals: &mut Signals) -> Result<bool, Failure> {
        let server = &self.tail.server;
        let bodies = [body];
        let sent = tokio::select! {
            sent = server.client.send(self.id, &bodies) => sent,
            _ = signals.next() => return Ok(true),
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) if error.is_status(401) || error.is_status(404) => return Err(refused(server, error)),
            Err(error) => {
                let failure = refused(server, error);
                let style = self.terminal.style();
                self.terminal
                    .line(&format!("{} {}", style.red("error:"), safe(&failure.message)));
                return Ok(false);
            }
        };
        for entry in sent.iter().filter_map(|raw| Entry::of_json(raw.get()).ok()) {
            let is_message = entry.kind == "user.message";
            let waits = entry
                .event
                .as_ref()
                .is_some_and(|event| event.processed_at.is_none());
            if is_message && waits {
                self.terminal.line("  (waits for its turn)");
            }
            self.own.extend(entry.id.filter(|_| is_message));
            if let Some(event) = &entry.event {
                self.waiting.take(event);
            }
        }
        Ok(false)
    }
}

/// For what waits, after a pause.
async fn look(server: &Server, session: &SessionId, pause: Duration) -> Result<Waiting, ClientError> {
    tokio::time::sleep(pause).await;
    waits(server, session).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::arguments::DataArgument;
    use crate::reach::Reach;
    use terminal::Kind;
    use wire::StopReason;

    fn server() -> Box<Server> {
        let environment = Environment {
            server_url: Some("http://127.0.0.1:9".into()),
            server_key: Some("a-key-of-this-test".into()),
            ..Environment::default()
        };
        match Reach::find(&DataArgument { data: None }, None, &environment) {
            Ok(Reach::Server(server)) => server,
            _ => panic!("a server is named"),
        }
    }

    fn refused(status: u16) -> Result<Waiting, ClientError> {
        Err(ClientError::Refused {
            status,
            message: "no".to_owned(),
            code: None,
            request_id: None,
        })
    }

    #[test]
    fn questions_are_looked_for_until_the_server_answers_and_then_not_again() {
        let (id, server) = (SessionId::random(), server());
        let mut terminal = Terminal::new(Box::new(Vec::new()), Box::new(Vec::new()), Kind::default());
        let mut talk = Talk {
            id: &id,
            tail: Tail::new(server.clone(), &id, None, ENDLESS),
            activity: Activity::whole(terminal.style(), terminal.width()),
            waiting: Waiting::default(),
            sought: HashSet::new(),
            unanswered: false,
            own: HashSet::new(),
            working: false,
            interrupted: false,
            terminal: &mut terminal,
        };
        assert!(!talk.misses_questions());
        let asking = Event {
            id: EventId::random(),
            processed_at: None,
            body: Body::SessionStatusIdle {
                stop_reason: StopReason::RequiresAction {
                    event_ids: vec![EventId::random()],
                },
                stop_details: None,
            },
        };
        talk.waiting.take(&asking);
        talk.found(&server, refused(503)).unwrap();
        assert!(talk.misses_questions() && talk.unanswered);
        assert!(talk.found(&server, refused(404)).is_err());
        // Not even the server has the call.
        let mut answer = Waiting::default();
        answer.take(&asking);
        talk.found(&server, Ok(answer)).unwrap();
        assert!(!talk.misses_questions() && !talk.unanswered);
    }
}
