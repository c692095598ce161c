//! A session's events as they come.

use crate::ClientError;
use crate::answer::words;
use crate::sse::{Parser, Raw};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::time::Duration;
use wire::ErrorBody;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where a client goes on that comes back; previews have none.
    pub id: Option<String>,
    /// The type of the event.
    pub kind: String,
    /// The event, as JSON.
    pub json: String,
}

/// A stream that is open.
#[derive(Debug)]
pub struct Records {
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Raw>,
    /// A server says at least that it is there.
    silence: Duration,
}

impl Records {
    pub(crate) fn new(body: Incoming, silence: Duration) -> Self {
        Self {
            body,
            parser: Parser::default(),
            ready: VecDeque::new(),
            silence,
        }
    }

    /// Nothing after the last. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Record>, ClientError> {
        loop {
            while let Some(raw) = self.ready.pop_front() {
                match raw.event.as_str() {
                    "ping" => {}
                    "error" => return Err(error(&raw.data)),
                    _ => {
                        return Ok(Some(Record {
                            id: raw.id,
                            kind: raw.event,
                            json: raw.data,
                        }));
                    }
                }
            }
            let frame = tokio::time::timeout(self.silence, self.body.frame()).await;
            let silent = |_| ClientError::Silent { after: self.silence };
            let Some(frame) = frame.map_err(silent)? else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(|_| ClientError::Cut)?.into_data() {
                let taken = self.parser.take(&data, &mut self.ready);
                taken.map_err(|error| ClientError::Answer {
                    reason: error.to_string(),
                })?;
            }
        }
    }
}

fn error(json: &str) -> ClientError {
    let message = match serde_json::from_str::<ErrorBody>(json) {
        Ok(body) => words(&body.error.message),
        Err(_) => "it does not say why".to_owned(),
    };
    ClientError::Stream { message }
}
