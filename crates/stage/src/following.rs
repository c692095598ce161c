//! A session's stream as a client has it.

use crate::{Api, Failure};
use client::{Record, Records};

pub struct Following {
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
        let records = opened.map_err(|error| failed(error.to_string()))?;
        Ok(Self { records })
    }

    /// The next event or preview; nothing when the stream has ended or was cut. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Record> {
        self.records.next().await.ok().flatten()
    }
}
