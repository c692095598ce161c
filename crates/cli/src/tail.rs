//! A session's events as its server gives them, one after another and each once: over cut connections, over servers that
//! are started again, and over one server that takes the place of another.
//!
//! ```text
//! no stream --connected, after the last event--> stream --cut--> pause --> no stream
//!     \------------------refused------------------------------------------> failed
//! stream --session.deleted, or ended and the session has ended too--> over
//! ```

use crate::entry::Entry;
use crate::reach::Server;
use crate::session::Session;
use client::{ClientError, Records};
use domain::{EventId, SessionId};
use std::time::Duration;
use terminal::Failure;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// A stream that gave nothing and stayed open for as long is a good one.
const STEADY: Duration = Duration::from_secs(10);

pub(crate) struct Tail {
    pub(crate) server: Box<Server>,
    session: SessionId,
    /// The last event that was given.
    last: Option<EventId>,
    stream: Option<Stream>,
    /// Attempts since a stream was good for something.
    attempts: u32,
    /// Before the next attempt.
    pause_until: Option<Instant>,
    outage: Option<Outage>,
    patience: Duration,
    /// Whether there was a stream.
    begun: bool,
    over: bool,
}

pub(crate) enum Told {
    Event(Box<Entry>),
    /// The server does not answer; it is asked again. Told once in each outage.
    Away(String),
}

struct Stream {
    records: Records,
    opened: Instant,
}

/// Lasts until a stream is good for something: one that is cut again at once ends none.
struct Outage {
    since: Instant,
    told: bool,
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
            stream: None,
            attempts: 0,
            pause_until: None,
            outage: None,
            patience,
            begun: false,
            over: false,
        }
    }

    /// Opens the stream, so that nothing is missed from now on.
    pub(crate) async fn open(&mut self) -> Result<(), ClientError> {
        let client = &self.server.client;
        let records = client.follow(&self.session, self.last.as_ref()).await?;
        self.begin(records);
        Ok(())
    }

    /// Nothing after the session's last event. May be dropped while it waits: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, Failure> {
        while !self.over {
            if let Some(until) = self.pause_until {
                tokio::time::sleep_until(until).await;
                self.pause_until = None;
            }
            let told = match self.stream.as_mut() {
                Some(stream) => {
                    let next = stream.records.next().await;
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
                (self.attempts, self.outage) = (0, None);
                self.over = entry.kind == "session.deleted";
                Ok(entry.id.is_some().then(|| Told::Event(Box::new(entry))))
            }
            Ok(None) => {
                self.end();
                self.over = self.has_ended().await?;
                if self.over {
                    return Ok(None);
                }
                self.failed(ClientError::Cut)
            }
            Err(error) => {
                self.end();
                self.failed(error)
            }
        }
    }

    async fn connect(&mut self) -> Result<Option<Told>, Failure> {
        self.server.look_again()?;
        let client = &self.server.client;
        match client.follow(&self.session, self.last.as_ref()).await {
            Ok(records) => {
                self.begin(records);
                Ok(None)
            }
            Err(error) if error.is_status(404) && self.begun => {
                self.over = true;
                Ok(None)
            }
            Err(error) => self.failed(error),
        }
    }

    fn begin(&mut self, records: Records) {
        let opened = Instant::now();
        self.stream = Some(Stream { records, opened });
        self.begun = true;
    }

    fn end(&mut self) {
        let stream = self.stream.take();
        if stream.is_some_and(|stream| stream.opened.elapsed() >= STEADY) {
            (self.attempts, self.outage) = (0, None);
        }
    }

    /// What may pass is tried again, if there was a stream once.
    fn failed(&mut self, error: ClientError) -> Result<Option<Told>, Failure> {
        let passes = self.begun && error.may_pass();
        let failure = self.server.explain(error);
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: Instant::now(),
            told: false,
        });
        if !passes || outage.since.elapsed() > self.patience {
            return Err(failure);
        }
        // A cut alone is nothing to speak of.
        let tells = self.attempts > 0 && !outage.told;
        outage.told |= tells;
        self.pause();
        Ok(tells.then_some(Told::Away(failure.message)))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::arguments::DataArgument;
    use crate::reach::Reach;
    use terminal::Environment;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Whose streams end as soon as they are open.
    async fn server() -> Box<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut asked).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let (kind, body) = if String::from_utf8_lossy(&asked).contains("/stream ") {
                    ("text/event-stream", "")
                } else {
                    ("application/json", "{}")
                };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all((head + body).as_bytes()).await;
            }
        });
        let environment = Environment {
            server_url: Some(url.into()),
            server_key: Some("a-key-of-this-test".into()),
            ..Environment::default()
        };
        let Ok(Reach::Server(server)) = Reach::find(&DataArgument { data: None }, None, &environment) else {
            panic!("a server is named");
        };
        server
    }

    #[tokio::test]
    async fn a_server_whose_streams_give_nothing_is_away_and_not_for_ever() {
        let patience = Duration::from_secs(2);
        let mut tail = Tail::new(server().await, &SessionId::random(), None, patience);
        tail.open().await.unwrap();
        let mut told = 0;
        let failure = loop {
            match tail.next().await {
                Ok(Some(Told::Away(_))) => told += 1,
                Ok(_) => panic!("there are no events, and the session has not ended"),
                Err(failure) => break failure,
            }
        };
        assert_eq!((told, failure.kind), (1, "server"), "{failure}");
    }
}
