//! The body of a played reply: its events when their time has come, and the fault where the script wants one.
//!
//! An event is made when the connection has room for it, so thousands of open replies cost little.

use crate::events::{self, Event};
use crate::ledger::{Outcome, Ticket};
use crate::script::{Endless, Fault};
use bytes::Bytes;
use http_body::{Body, Frame};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

pub(crate) type Source = Box<dyn Iterator<Item = Event> + Send>;

pub(crate) struct PlayedBody {
    source: Source,
    fault: Option<Fault>,
    ticket: Ticket,
    played: u64,
    waiting: Option<(Pin<Box<Sleep>>, Event)>,
    /// Nothing follows the event that was sent last.
    last: bool,
    /// The connection had its chance to write what it holds.
    flushed: bool,
}

/// What comes next.
enum Step {
    Send(Event),
    SendLast(Event),
    Cut,
    Stall,
    End,
}

impl PlayedBody {
    /// `fault` is one that shows itself in the body.
    pub(crate) fn new(source: Source, fault: Option<Fault>, ticket: Ticket) -> Self {
        Self {
            source,
            fault,
            ticket,
            played: 0,
            waiting: None,
            last: false,
            flushed: false,
        }
    }

    fn step(&mut self) -> Step {
        if self.last {
            return Step::End;
        }
        match self.due_fault() {
            Some(Fault::Drop { .. }) => Step::Cut,
            Some(Fault::Stall { .. }) => Step::Stall,
            Some(Fault::StreamError {
                error_type, message, ..
            }) => Step::SendLast(events::error(error_type, message)),
            Some(Fault::Raw { text, .. }) => Step::SendLast(raw(Bytes::from(text.clone()))),
            Some(Fault::Endless {
                what, interval_ms, ..
            }) => {
                let delay = Duration::from_millis(*interval_ms);
                Step::Send(Event {
                    delay,
                    ..endless(*what)
                })
            }
            Some(Fault::Error { .. } | Fault::Close { .. }) | None => match self.source.next() {
                Some(event) => Step::Send(event),
                None => Step::End,
            },
        }
    }

    fn due_fault(&self) -> Option<&Fault> {
        let fault = self.fault.as_ref()?;
        let after = match fault {
            Fault::Error { .. } | Fault::Close { .. } => return None,
            Fault::Drop { after_events, .. }
            | Fault::Stall { after_events, .. }
            | Fault::StreamError { after_events, .. }
            | Fault::Raw { after_events, .. }
            | Fault::Endless { after_events, .. } => *after_events,
        };
        (self.played >= after).then_some(fault)
    }

    fn send(&mut self, event: Event) -> Frame<Bytes> {
        self.played += 1;
        self.ticket.sent(event.bytes.len(), event.usage);
        Frame::data(event.bytes)
    }
}

impl Body for PlayedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.waiting.is_none() {
            let event = match self.step() {
                Step::Send(event) => event,
                Step::SendLast(event) => {
                    self.last = true;
                    event
                }
                // Whoever waits on the other end wakes this connection by leaving it.
                Step::Stall => return Poll::Pending,
                Step::Cut if !self.flushed => {
                    self.flushed = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::Cut => {
                    self.ticket.close(Outcome::CutByScript);
                    return Poll::Ready(Some(Err(io::Error::other("the script cuts the connection here"))));
                }
                Step::End => {
                    self.ticket.close(Outcome::Completed);
                    return Poll::Ready(None);
                }
            };
            if event.delay.is_zero() {
                let frame = self.send(event);
                return Poll::Ready(Some(Ok(frame)));
            }
            self.waiting = Some((Box::pin(sleep(event.delay)), event));
        }
        if let Some((delay, _)) = &mut self.waiting {
            ready!(delay.as_mut().poll(context));
        }
        let frame = self.waiting.take().map(|(_, event)| self.send(event));
        Poll::Ready(frame.map(Ok))
    }
}

fn endless(what: Endless) -> Event {
    match what {
        Endless::Text => events::text_delta(0, "and so on, "),
        Endless::Pings => events::ping(),
        Endless::Line => raw(Bytes::from_static(&[b'x'; 4096])),
    }
}

pub(crate) fn raw(bytes: Bytes) -> Event {
    Event {
        bytes,
        delay: Duration::ZERO,
        usage: None,
    }
}
