//! A session's events as its server gives them, one after another and each once: over cut connections, over servers that
//! are started again, and over one server that takes the place of another.
//!
//! ```text
//! no stream --connected, after the last event--> stream --cut--> pause --> no stream
//!     \------------------refused------------------------------------------> failed
//! stream --session.deleted, or ended and the session has ended too--> over
//! ```

use crate::entry::Entry;
use crate::failure::Failure;
use crate::reach::Server;
use crate::session::Session;
use client::{ClientError, Records};
use domain::{EventId, SessionId};
use std::time::Duration;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Tail {
    pub(crate) server: Box<Server>,
    session: SessionId,
    /// The last event that was given.
    last: Option<EventId>,
    records: Option<Records>,
    /// Attempts since the last event.
    attempts: u32,
    /// Before the next attempt.
    pause_until: Option<Instant>,
    away_since: Option<Instant>,
    patience: Duration,
    /// Whether there was a stream.
    begun: bool,
    over: bool,
}

pub(crate) enum Told {
    Event(Box<Entry>),
    /// The server does not answer; it is asked again. Told once each time.
    Away(String),
}

impl Tail {
    /// What comes after an event, or from now on. A server may be away for as long as `patience`.
    pub(crate) fn new(
        server: Box<Server>,
        session: &SessionId,
        last: Option<EventId>,
        patience: Duration,
    ) -> Self {
        Self {
            server,
            session: session.clone(),
            last,
            records: None,
            attempts: 0,
            pause_until: None,
            away_since: None,
            patience,
            begun: false,
            over: false,
        }
    }

    /// Opens the stream, so that nothing is missed from now on.
    pub(crate) async fn open(&mut self) -> Result<(), Failure> {
        let client = &self.server.client;
        let records = client.follow(&self.session, self.last.as_ref()).await;
        self.records = Some(records.map_err(|error| self.server.explain(error))?);
        self.begun = true;
        Ok(())
    }

    /// Nothing after the session's last event. May be dropped while it waits: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, Failure> {
        while !self.over {
            if let Some(until) = self.pause_until {
                tokio::time::sleep_until(until).await;
                self.pause_until = None;
            }
            let told = match self.records.as_mut() {
                Some(records) => {
                    let next = records.next().await;
                    self.take(next).await?
                }
                None => self.connect().await?,
            };
            if told.is_some() {
                return Ok(told);
            }
        }
        Ok(None)
    }

    async fn take(
        &mut self,
        next: Result<Option<client::Record>, ClientError>,
    ) -> Result<Option<Told>, Failure> {
        match next {
            Ok(Some(record)) => {
                let entry = Entry::of_json(&record.json).map_err(|error| {
                    self.server.explain(ClientError::Answer {
                        reason: error.to_string(),
                    })
                })?;
                if entry.id.is_some() {
                    self.last.clone_from(&entry.id);
                }
                (self.attempts, self.away_since) = (0, None);
                self.over = entry.kind == "session.deleted";
                Ok(entry.id.is_some().then(|| Told::Event(Box::new(entry))))
            }
            Ok(None) => {
                self.records = None;
                self.pause();
                self.over = self.has_ended().await?;
                Ok(None)
            }
            Err(error) => {
                self.records = None;
                self.failed(error)
            }
        }
    }

    async fn connect(&mut self) -> Result<Option<Told>, Failure> {
        self.server.look_again()?;
        let client = &self.server.client;
        match client.follow(&self.session, self.last.as_ref()).await {
            Ok(records) => {
                self.records = Some(records);
                (self.begun, self.away_since) = (true, None);
                Ok(None)
            }
            Err(error) if error.is_status(404) && self.begun => {
                self.over = true;
                Ok(None)
            }
            Err(error) => self.failed(error),
        }
    }

    /// What may pass is tried again, if there was a stream once.
    fn failed(&mut self, error: ClientError) -> Result<Option<Told>, Failure> {
        let passes = self.begun && error.may_pass();
        let failure = self.server.explain(error);
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if !passes || since.elapsed() > self.patience {
            return Err(failure);
        }
        self.pause();
        // A cut alone is nothing to speak of.
        Ok((self.attempts == 2).then_some(Told::Away(failure.message)))
    }

    fn pause(&mut self) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.attempts.min(10))
            .min(LAST_PAUSE);
        // A stream that gave events is opened again at once.
        if self.attempts > 0 {
            self.pause_until = Some(Instant::now() + pause);
        }
        self.attempts += 1;
    }

    /// A stream that ended well: the server is ending, or the session has.
    async fn has_ended(&self) -> Result<bool, Failure> {
        match self.server.client.session(&self.session).await {
            Ok(raw) => Ok(Session::read(&raw).is_ok_and(|session| session.status == "terminated")),
            Err(error) if error.is_status(404) => Ok(true),
            Err(error) if error.may_pass() => Ok(false),
            Err(error) => Err(self.server.explain(error)),
        }
    }
}
