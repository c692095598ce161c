//! What a client that follows a session is shown, whatever carries it: one JSON value after another.
//!
//! A client that does not read holds up nobody: it has one value on its way, and is served from the store when it comes
//! back to it. A ping says that it fell behind.

use bytes::Bytes;
use control::{AccessError, EventStream, Item};
use domain::EventId;
use serde::Serialize;
use serde_json::json;
use std::collections::HashSet;
use wire::Preview;

pub(crate) struct Following {
    events: EventStream,
    wanted: Previews,
}

/// One value for the client.
pub(crate) struct Shown {
    /// Of an event; a client that comes back names the last one that it has.
    pub(crate) id: Option<EventId>,
    pub(crate) kind: String,
    /// One line: JSON has no line ends of its own. Clients of one session share it.
    pub(crate) json: Bytes,
}

/// Which previews a client wants, and of which events it has seen the start.
struct Previews {
    types: Vec<String>,
    started: HashSet<EventId>,
}

impl Following {
    /// With previews of events of these types.
    pub(crate) fn new(events: EventStream, types: Vec<String>) -> Self {
        let started = HashSet::new();
        Self {
            events,
            wanted: Previews { types, started },
        }
    }

    /// Nothing after the last. May be dropped while it waits: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Shown>, AccessError> {
        loop {
            match self.events.next().await? {
                Some(Item::Event(logged)) => {
                    let event = &logged.event;
                    self.wanted.started.remove(&event.id);
                    let id = Some(event.id.clone());
                    return Ok(Some(Shown::of(id, event.body.kind(), logged.json())));
                }
                Some(Item::Preview(preview)) => {
                    if self.wanted.wants(&preview) {
                        return Ok(Some(Shown::new(kind(&preview), &*preview)));
                    }
                }
                Some(Item::Behind) => {
                    let ping = json!({"type": "ping", "behind": true});
                    return Ok(Some(Shown::new("ping", &ping)));
                }
                None => return Ok(None),
            }
        }
    }
}

impl Shown {
    /// What is no event.
    pub(crate) fn new<T: Serialize>(kind: &str, value: &T) -> Self {
        Self::of(None, kind, serde_json::to_vec(value).map(Bytes::from))
    }

    fn of(id: Option<EventId>, kind: &str, json: Result<Bytes, serde_json::Error>) -> Self {
        let json = json.unwrap_or_else(|error| {
            tracing::error!(%error, kind, "an event cannot be written as JSON");
            Bytes::new()
        });
        Self {
            id,
            kind: kind.to_owned(),
            json,
        }
    }
}

impl Previews {
    fn wants(&mut self, preview: &Preview) -> bool {
        match preview {
            Preview::EventStart { event } => {
                let wanted = self.types.contains(&event.kind);
                if wanted {
                    self.started.insert(event.id.clone());
                }
                wanted
            }
            Preview::EventDelta { event_id, .. } => self.started.contains(event_id),
        }
    }
}

fn kind(preview: &Preview) -> &'static str {
    match preview {
        Preview::EventStart { .. } => "event_start",
        Preview::EventDelta { .. } => "event_delta",
    }
}
