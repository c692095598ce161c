//! A session's stream as a client has it.

use crate::records::{Record, Records};
use crate::{Api, Failure};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::time::Duration;

/// For the head of the answer.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Following {
    body: Incoming,
    records: Records,
    ready: VecDeque<Record>,
}

impl Following {
    /// What comes from now on, or after this event.
    pub async fn open(api: &Api, session: &str, after: Option<&str>) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::Stream {
            session: session.to_owned(),
            reason,
        };
        let mut request = Request::get(format!("{}/v1/sessions/{session}/events/stream", api.url()))
            .header("authorization", format!("Bearer {}", api.key()))
            .header("accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| failed(error.to_string()))?;
        let asked = tokio::time::timeout(PATIENCE, api.http().request(request)).await;
        let response = asked
            .map_err(|_| failed(format!("nothing after {PATIENCE:?}")))?
            .map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(Self {
                body,
                records: Records::default(),
                ready: VecDeque::new(),
            });
        }
        let said = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        Err(failed(format!("{status}: {}", String::from_utf8_lossy(&said))))
    }

    /// The next record; nothing when the stream has ended or was cut. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.ready.extend(self.records.take(data));
            }
        }
    }
}
