//! `hostler sessions attach`: a conversation at a terminal. What the session does is shown as it comes; a line that is typed
//! answers what is asked, or is the next message. Leaving ends nothing.

mod answer;

use super::place::{self, flags, refused, unread};
use super::waits::waits;
use crate::arguments::AttachArguments;
use crate::check::MAX_PROMPT_BYTES;
use crate::entry::Entry;
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::input::Lines;
use crate::render::activity::{Activity, call};
use crate::render::text::{one_line, safe};
use crate::render::waiting::{Asks, Waiting};
use crate::session::Session;
use crate::signals::Signals;
use crate::tail::{Tail, Told};
use crate::terminal::Terminal;
use answer::{Said, understood};
use client::EventQuery;
use domain::{EventId, SessionId};
use std::collections::HashSet;
use std::time::Duration;
use wire::page::Order;
use wire::{Body, Event};

/// Of the conversation so far that is shown.
const EVENTS: usize = 50;
/// Whoever sits there sees that the server is away, and leaves when they have waited enough.
const ENDLESS: Duration = Duration::MAX;

struct Talk<'a> {
    id: &'a SessionId,
    tail: Tail,
    activity: Activity,
    waiting: Waiting,
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
        let flags = flags(&arguments.place);
        return Err(Failure {
            exit: Exit::Usage,
            ..Failure::said("usage", "attach needs a terminal").hint(format!(
                "hostler sessions send {id}{flags} TEXT says something, hostler sessions logs {id}{flags} --follow shows \
                 what comes"
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
        let line = format!("the agent goes on; hostler sessions attach {id} comes back to it");
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
            let line = format!("… hostler sessions show {} has what was before", self.id);
            self.terminal.line(&style.dim(&line));
        }
        self.working = matches!(session.status.as_str(), "running" | "rescheduling");
        let last = entries.last().and_then(|entry| entry.id.clone());
        self.tail = Tail::new(server, self.id, last, ENDLESS);
        self.tail.open().await?;
        for event in entries.iter().filter_map(|entry| entry.event.as_ref()) {
            self.show(event);
        }
        self.find_questions().await?;
        self.terminal
            .line(&style.dim("Ctrl-C interrupts the agent, and leaves where it rests; Ctrl-D leaves"));
        Ok(())
    }

    /// Until the user leaves, which it says, or the session ends.
    async fn go_on(&mut self, lines: &mut Lines, signals: &mut Signals) -> Result<bool, Failure> {
        loop {
            self.ask();
            tokio::select! {
                told = self.tail.next() => match told? {
                    Some(Told::Event(entry)) => {
                        if let Some(event) = &entry.event {
                            self.show(event);
                            self.find_questions().await?;
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

    /// Calls that were made before what is shown.
    async fn find_questions(&mut self) -> Result<(), Failure> {
        if self.waiting.ids().len() > self.waiting.calls().len() {
            self.waiting = waits(&self.tail.server, self.id).await?;
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
