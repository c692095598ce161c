//! A reader's view of a session's log: what is stored, then what comes, without a gap.

use crate::AccessError;
use crate::hub::{Hub, Position, Read};
use bytes::Bytes;
use domain::SessionId;
use std::collections::{HashSet, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use store::{LoggedEvent, Query, Store};
use wire::Preview;

/// What a reader that is behind takes from the store at once; there may be thousands.
const PAGE: u32 = 64;
const PAGE_BYTES: usize = 128 << 10;

/// What a stream gives.
#[derive(Debug, Clone)]
pub enum Item {
    /// An event that is in the log.
    Event(Arc<Told>),
    /// A part of an event that is still being written. Never stored; left out where the reader fell behind.
    Preview(Arc<Preview>),
    /// The reader was slower than the session: what it missed follows from the store, without previews.
    Behind,
}

/// An event of the log as all its readers share it.
#[derive(Debug)]
pub struct Told {
    logged: LoggedEvent,
    json: OnceLock<Bytes>,
}

impl Told {
    /// The event as JSON; made once, whoever asks.
    pub fn json(&self) -> Result<Bytes, serde_json::Error> {
        if let Some(json) = self.json.get() {
            return Ok(json.clone());
        }
        let json = Bytes::from(serde_json::to_vec(&self.logged.event)?);
        Ok(self.json.get_or_init(|| json).clone())
    }
}

impl Deref for Told {
    type Target = LoggedEvent;

    fn deref(&self) -> &LoggedEvent {
        &self.logged
    }
}

impl From<LoggedEvent> for Told {
    fn from(logged: LoggedEvent) -> Self {
        let json = OnceLock::new();
        Self { logged, json }
    }
}

impl From<LoggedEvent> for Item {
    fn from(logged: LoggedEvent) -> Self {
        Self::Event(Arc::new(logged.into()))
    }
}

/// Reads on from a number in the log. A reader that is slow is served from the store: it loses no event, only
/// previews, and of an event it gets no more of them once it has missed one.
pub struct EventStream {
    session: SessionId,
    store: Store,
    hub: Arc<Hub>,
    position: Position,
    page: VecDeque<Arc<Told>>,
    /// Events whose previews have been seen from their start.
    previewed: HashSet<domain::EventId>,
    /// It has had everything that there was.
    caught_up: bool,
}

impl EventStream {
    pub(crate) fn new(session: SessionId, store: Store, hub: Arc<Hub>, after: u64) -> Self {
        let position = Position::after(after);
        Self {
            session,
            store,
            hub,
            position,
            page: VecDeque::new(),
            previewed: HashSet::new(),
            caught_up: false,
        }
    }

    /// The next item; nothing after the session's last event, or when the session was removed or hostler shuts down.
    /// May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Item>, AccessError> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.position.seen(event.seq);
                return Ok(Some(Item::Event(event)));
            }
            match self.hub.read(&mut self.position) {
                Read::Item(Item::Preview(preview)) => {
                    if self.is_whole(&preview) {
                        return Ok(Some(Item::Preview(preview)));
                    }
                }
                // Only a reader falls behind, and never the hub.
                Read::Item(Item::Behind) => {}
                Read::Item(Item::Event(event)) => {
                    self.previewed.remove(&event.event.id);
                    return Ok(Some(Item::Event(event)));
                }
                Read::Behind if std::mem::take(&mut self.caught_up) => return Ok(Some(Item::Behind)),
                Read::Behind => {
                    self.previewed.clear();
                    let query = Query {
                        after: self.position.seq(),
                        limit: PAGE,
                        types: &[],
                    };
                    let page = self.store.events_within(&self.session, query, PAGE_BYTES).await?;
                    self.page = self.hub.share(page).into();
                    if self.page.is_empty() && self.hub.is_behind(&self.position) {
                        // The log is shorter than the hub says: the session was removed under the reader.
                        return Ok(None);
                    }
                }
                Read::Wait => {
                    self.caught_up = true;
                    self.hub.changed(&self.position).await;
                }
                Read::End => return Ok(None),
            }
        }
    }

    fn is_whole(&mut self, preview: &Preview) -> bool {
        match preview {
            Preview::EventStart { event } => self.previewed.insert(event.id.clone()),
            Preview::EventDelta { event_id, .. } => self.previewed.contains(event_id),
        }
    }
}
