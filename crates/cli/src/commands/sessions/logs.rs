//! `hostler sessions logs`: the events, one a line; with `--follow` also those that come.

use super::place::{self, Pages, Place, nothing, refused, row, unread};
use crate::arguments::LogsArguments;
use crate::entry::Entry;
use crate::reach::Server;
use crate::render::event_line::event_line;
use crate::tail::{Tail, Told};
use client::EventQuery;
use domain::EventId;
use std::time::Duration;
use terminal::{Environment, Failure, Signals, Terminal};
use wire::page::Order;

/// Of a line, where no terminal says how wide it is.
const COLUMNS: usize = 200;
/// Who reads a log to its present end does not wait for a server for long.
const PATIENCE: Duration = Duration::from_mins(1);
/// Who follows one waits until they have seen enough.
const ENDLESS: Duration = Duration::MAX;

struct Printer<'a> {
    arguments: &'a LogsArguments,
    terminal: &'a mut Terminal,
    /// The last event that was looked at.
    last: Option<EventId>,
}

pub(super) async fn logs(
    arguments: &LogsArguments,
    place: &Place,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let mut printer = Printer::new(arguments, terminal);
    let mut pages = place.events(&arguments.session, &arguments.types);
    match (place, &arguments.since_event) {
        (Place::Nothing { data }, _) => return Err(nothing(&arguments.session, data)),
        (Place::Server(server), Some(since)) => return printer.since(server, since).await,
        (Place::Server(_), None) => {}
        (Place::Store(store), since) => {
            row(store, &arguments.session, &arguments.place).await?;
            if let Some(since) = since {
                let seq = store.event_seq(&arguments.session, since).await;
                let seq = seq.map_err(|error| Failure::failed("store", error))?;
                pages = pages.after(seq.ok_or_else(|| no_event(since))?);
            }
        }
    }
    printer.pages(&mut pages).await
}

/// Why nothing is followed any more.
#[derive(Debug, PartialEq, Eq)]
enum Followed {
    ToTheEnd,
    /// Whoever read has gone.
    Unread,
}

/// From now on, and what was before, unless an event is named to go on after.
pub(super) async fn follow(
    arguments: &LogsArguments,
    environment: &Environment,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let server = place::server(&arguments.place, environment)?;
    let mut printer = Printer::new(arguments, terminal);
    let followed = tokio::select! {
        followed = printer.follow(server) => followed?,
        _ = signals.next() => return Ok(()),
    };
    if followed == Followed::ToTheEnd {
        printer.terminal.line("the session has ended");
    }
    Ok(())
}

/// `since` is an event that the user named.
async fn open(tail: &mut Tail, since: Option<&EventId>) -> Result<(), Failure> {
    tail.open().await.map_err(|error| match since {
        Some(since) if error.is_status(400) => no_event(since),
        _ => refused(&tail.server, error),
    })
}

fn no_event(id: &EventId) -> Failure {
    Failure::said("event", format!("{id} is not an event of this session"))
        .hint("hostler sessions logs without --since-event lists all")
}

impl<'a> Printer<'a> {
    fn new(arguments: &'a LogsArguments, terminal: &'a mut Terminal) -> Self {
        Self {
            arguments,
            terminal,
            last: None,
        }
    }

    async fn pages(&mut self, pages: &mut Pages<'_>) -> Result<(), Failure> {
        while let Some(page) = pages.next().await? {
            for entry in &page {
                self.print(entry);
            }
            if self.terminal.reader_is_gone() {
                break;
            }
        }
        Ok(())
    }

    /// What comes after an event, to the present end.
    async fn since(&mut self, server: &Server, since: &EventId) -> Result<(), Failure> {
        let session = &self.arguments.session;
        let newest = EventQuery {
            types: Vec::new(),
            order: Order::Desc,
            limit: 1,
        };
        let newest = server.client.events(session, &newest, None).await;
        let newest = newest.map_err(|error| refused(server, error))?;
        let Some(newest) = newest.data.first() else {
            return Err(no_event(since));
        };
        let newest = Entry::of_json(newest.get()).map_err(|error| unread(server, &error))?;
        if newest.id.as_ref() == Some(since) {
            return Ok(());
        }
        let mut tail = Tail::new(Box::new(server.clone()), session, Some(since.clone()), PATIENCE);
        open(&mut tail, Some(since)).await?;
        while let Some(told) = tail.next().await? {
            let Told::Event(entry) = told else { continue };
            self.print(&entry);
            if entry.id == newest.id || self.terminal.reader_is_gone() {
                break;
            }
        }
        Ok(())
    }

    async fn follow(&mut self, server: Box<Server>) -> Result<Followed, Failure> {
        let session = &self.arguments.session;
        self.last.clone_from(&self.arguments.since_event);
        let mut tail = None;
        if self.last.is_none() {
            let place = Place::Server(server.clone());
            let mut pages = place.events(session, &self.arguments.types);
            self.pages(&mut pages).await?;
            if self.last.is_none() {
                // Nothing to go on after: what is there once the stream is open comes first, and the rest with it.
                let mut opened = Tail::new(server.clone(), session, None, ENDLESS);
                open(&mut opened, None).await?;
                let mut pages = place.events(session, &self.arguments.types);
                self.pages(&mut pages).await?;
                tail = self.last.is_none().then_some(opened);
            }
        }
        let mut tail = if let Some(tail) = tail {
            tail
        } else {
            let mut tail = Tail::new(server, session, self.last.clone(), ENDLESS);
            open(&mut tail, self.arguments.since_event.as_ref()).await?;
            tail
        };
        while let Some(told) = tail.next().await? {
            match told {
                Told::Event(entry) => self.print(&entry),
                Told::Away(reason) => self.terminal.line(&format!("{reason}; trying again")),
            }
            if self.terminal.reader_is_gone() {
                return Ok(Followed::Unread);
            }
        }
        Ok(Followed::ToTheEnd)
    }

    fn print(&mut self, entry: &Entry) {
        self.last.clone_from(&entry.id);
        let types = &self.arguments.types;
        if !types.is_empty() && !types.contains(&entry.kind) {
            return;
        }
        let line = if self.arguments.json {
            entry.json.clone()
        } else {
            let width = self.terminal.out_width().unwrap_or(COLUMNS);
            event_line(entry, self.terminal.out_style(), width)
        };
        self.terminal.output((line + "\n").as_bytes());
    }
}
