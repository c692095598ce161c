//! A session's stream as a client has it.

use crate::api::asked;
use crate::{Api, Failure};
use client::{Record, Records};

pub struct Following {
    session: String,
    records: Records,
}

impl Following {
    /// What comes from now on, or after this event.
    pub async fn open(api: &Api, session: &str, after: Option<&str>) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::Stream {
            session: session.to_owned(),
            reason,
        };
        let id = session
            .parse()
            .map_err(|error: domain::IdError| failed(error.to_string()))?;
        let after = after.map(str::parse).transpose();
        let after = after.map_err(|error: domain::IdError| failed(error.to_string()))?;
        let opened = api.client().follow(&id, after.as_ref()).await;
        let path = format!("/v1/sessions/{session}/events/stream");
        let records = opened.map_err(|source| asked("GET", &path, source))?;
        Ok(Self {
            session: session.to_owned(),
            records,
        })
    }

    /// The next event or preview. A stream of a session that goes on has no end: one that ended or was cut is a failure,
    /// so that nobody takes a part for the whole. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Record, Failure> {
        let reason = match self.records.next().await {
            Ok(Some(record)) => return Ok(record),
            Ok(None) => "it ended".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Failure::Stream {
            session: self.session.clone(),
            reason,
        })
    }

    /// Passes over what comes before a record of this kind.
    pub async fn until(&mut self, kind: &str) -> Result<Record, Failure> {
        loop {
            let record = self.next().await?;
            if record.kind == kind {
                return Ok(record);
            }
        }
    }
}
