//! The live end of one session's log, shared by all its readers: the last events and previews in one bounded ring, in
//! the order in which they happened, and the session's present state.
//!
//! Writers never wait for readers. A reader whose place has left the ring is told that it is behind and reads the store.

use crate::events::{Item, Told};
use serde::Serialize;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use store::LoggedEvent;
use time::OffsetDateTime;
use tokio::sync::watch;
use wire::{Body, Event, Preview};

const RING_ITEMS: usize = 1024;
const RING_BYTES: usize = 1 << 20;
/// Kept for a session that is idle: there may be thousands.
const IDLE_BYTES: usize = 16 << 10;
/// Of an event of which readers that are behind share one copy.
const LARGE_BYTES: usize = 64 << 10;

/// Where a reader is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    /// The last event that it has.
    seq: u64,
    /// Its next item's place, counted from the hub's beginning; nothing while it reads the store.
    place: Option<u64>,
}

impl Position {
    /// Of a reader that has everything up to this event.
    pub(crate) fn after(seq: u64) -> Self {
        Self { seq, place: None }
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn seen(&mut self, seq: u64) {
        self.seq = seq;
    }
}

pub(crate) enum Read {
    Item(Item),
    /// Events that the reader lacks are only in the store.
    Behind,
    /// Nothing new yet.
    Wait,
    End,
}

pub(crate) struct Hub {
    ring: Mutex<Ring>,
    /// The number of items there have been.
    places: watch::Sender<u64>,
    /// Large events that readers have from the store, by their numbers.
    large: Mutex<Vec<(u64, Weak<Told>)>>,
}

struct Ring {
    items: VecDeque<(Item, usize)>,
    bytes: usize,
    /// The place of the first item in the ring.
    first: u64,
    /// The number of the last event that is not in the ring any more.
    left_seq: u64,
    /// No event comes any more.
    ended: bool,
    /// Readers end at once.
    closed: bool,
}

impl Hub {
    /// Of a session whose log ends at `last_seq`, for good if it has `ended`.
    pub(crate) fn new(last_seq: u64, ended: bool) -> Self {
        let ring = Ring {
            items: VecDeque::new(),
            bytes: 0,
            first: 0,
            left_seq: last_seq,
            ended,
            closed: false,
        };
        Self {
            ring: Mutex::new(ring),
            places: watch::Sender::new(0),
            large: Mutex::default(),
        }
    }

    /// Shows items to all readers, in this order.
    pub(crate) fn show(&self, items: impl IntoIterator<Item = Item>) {
        let mut ring = self.ring();
        for item in items {
            let bytes = match &item {
                // Of one reader, and nothing that is shown.
                Item::Behind => continue,
                Item::Event(event) => {
                    let body = &event.event.body;
                    ring.ended |= matches!(body, Body::SessionStatusTerminated | Body::SessionDeleted);
                    size(&event.event.body)
                }
                Item::Preview(preview) => match &**preview {
                    Preview::EventStart { .. } => 0,
                    Preview::EventDelta {
                        delta: wire::Delta::ContentDelta { content, .. },
                        ..
                    } => content.text.len(),
                },
            };
            ring.push(item, bytes);
        }
        self.announce(ring);
    }

    /// The last thing that readers see; nothing of the session is stored any more.
    pub(crate) fn show_deleted(&self) {
        let now = OffsetDateTime::now_utc();
        let deleted = LoggedEvent {
            seq: u64::MAX,
            created_at: now,
            event: Event::new(Body::SessionDeleted, now),
        };
        self.show([Item::from(deleted)]);
    }

    /// The number of the last event that was shown, or was there before.
    pub(crate) fn last_seq(&self) -> u64 {
        let ring = self.ring();
        let shown = ring.items.iter().rev().find_map(|(item, _)| match item {
            Item::Event(event) => Some(event.seq),
            Item::Preview(_) | Item::Behind => None,
        });
        shown.unwrap_or(ring.left_seq)
    }

    /// Lets go of most of the ring; readers that lack something find it in the store.
    pub(crate) fn rest(&self) {
        let mut ring = self.ring();
        ring.shrink(RING_ITEMS, IDLE_BYTES);
        ring.items.shrink_to_fit();
    }

    /// Ends every reader.
    pub(crate) fn close(&self) {
        let mut ring = self.ring();
        ring.closed = true;
        self.announce(ring);
    }

    pub(crate) fn read(&self, position: &mut Position) -> Read {
        let ring = self.ring();
        if ring.closed {
            return Read::End;
        }
        let mut place = match position.place {
            Some(place) if place >= ring.first => place,
            // What was at its place has left the ring.
            Some(_) => {
                position.place = None;
                return Read::Behind;
            }
            None if position.seq < ring.left_seq => return Read::Behind,
            None => ring.place_after(position.seq),
        };
        while let Some((item, _)) = usize::try_from(place - ring.first)
            .ok()
            .and_then(|at| ring.items.get(at))
        {
            place += 1;
            position.place = Some(place);
            match item {
                Item::Event(event) if event.seq <= position.seq => {}
                Item::Event(event) => {
                    position.seq = event.seq;
                    return Read::Item(item.clone());
                }
                Item::Preview(_) | Item::Behind => return Read::Item(item.clone()),
            }
        }
        position.place = Some(place);
        if ring.ended { Read::End } else { Read::Wait }
    }

    /// Events that a reader took from the store. A thousand readers that are slow have one copy of what is large.
    pub(crate) fn share(&self, events: Vec<LoggedEvent>) -> Vec<Arc<Told>> {
        events.into_iter().map(|event| self.share_one(event)).collect()
    }

    fn share_one(&self, event: LoggedEvent) -> Arc<Told> {
        if size(&event.event.body) < LARGE_BYTES {
            return Arc::new(event.into());
        }
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        large.retain(|(_, told)| told.strong_count() > 0);
        let there = large.iter().find(|(seq, _)| *seq == event.seq);
        if let Some(told) = there.and_then(|(_, told)| told.upgrade()) {
            return told;
        }
        let (seq, told) = (event.seq, Arc::new(Told::from(event)));
        large.push((seq, Arc::downgrade(&told)));
        told
    }

    /// Whether the log has events that the reader lacks.
    pub(crate) fn is_behind(&self, position: &Position) -> bool {
        position.seq < self.ring().left_seq
    }

    /// Until there is something after the position.
    pub(crate) async fn changed(&self, position: &Position) {
        let seen = position.place.unwrap_or(0);
        // The sender lives in `self`, so this ends only when there is something.
        let _ = self
            .places
            .subscribe()
            .wait_for(|places| *places > seen || *places == u64::MAX)
            .await;
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, ring: MutexGuard<'_, Ring>) {
        let places = if ring.closed {
            u64::MAX
        } else {
            ring.first + ring.items.len() as u64
        };
        drop(ring);
        self.places
            .send_if_modified(|present| std::mem::replace(present, places.max(*present)) < places);
    }
}

impl Ring {
    fn push(&mut self, item: Item, bytes: usize) {
        self.bytes += bytes;
        self.items.push_back((item, bytes));
        self.shrink(RING_ITEMS, RING_BYTES);
    }

    fn shrink(&mut self, most_items: usize, most_bytes: usize) {
        while self.items.len() > most_items || (self.bytes > most_bytes && self.items.len() > 1) {
            let Some((item, bytes)) = self.items.pop_front() else {
                break;
            };
            self.bytes -= bytes;
            self.first += 1;
            if let Item::Event(event) = item {
                self.left_seq = event.seq;
            }
        }
    }

    /// The place after the event `seq`, previews of what follows it included.
    fn place_after(&self, seq: u64) -> u64 {
        let at = self
            .items
            .iter()
            .rposition(|(item, _)| matches!(item, Item::Event(event) if event.seq <= seq));
        self.first + at.map_or(0, |at| at as u64 + 1)
    }
}

/// About how much memory an event takes.
fn size(body: &Body) -> usize {
    match body {
        Body::UserMessage { content }
        | Body::AgentMessage { content }
        | Body::UserCustomToolResult {
            content: Some(content),
            ..
        }
        | Body::AgentToolResult {
            content: Some(content),
            ..
        } => content.iter().map(block_size).sum(),
        Body::SystemMessage { content } => content.iter().map(|part| part.text.len()).sum(),
        other => written(other),
    }
}

fn block_size(block: &wire::ContentBlock) -> usize {
    match block {
        wire::ContentBlock::Text { text } => text.len(),
        other => written(other),
    }
}

/// As JSON.
fn written<T: Serialize>(value: &T) -> usize {
    let mut counted = Counted(0);
    // It counts what it is given, and does not fail.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use store::LoggedEvent;
    use time::OffsetDateTime;
    use wire::{ContentBlock, Event};

    fn event(seq: u64, text: &str) -> Item {
        let body = Body::AgentMessage {
            content: vec![ContentBlock::text(text)],
        };
        Item::from(logged(seq, body))
    }

    fn logged(seq: u64, body: Body) -> LoggedEvent {
        let now = OffsetDateTime::UNIX_EPOCH;
        LoggedEvent {
            seq,
            created_at: now,
            event: Event::new(body, now),
        }
    }

    fn preview(text: &str) -> Item {
        Item::Preview(Arc::new(Preview::delta(
            domain::EventId::random(),
            text.to_owned(),
        )))
    }

    /// What a reader at this position gets: numbers of events, `p` for previews, then why there is no more.
    fn read(hub: &Hub, position: &mut Position) -> String {
        let mut told = String::new();
        loop {
            told.push_str(&match hub.read(position) {
                Read::Item(Item::Event(event)) => event.seq.to_string(),
                Read::Item(Item::Preview(_)) => "p".to_owned(),
                Read::Item(Item::Behind) => "b".to_owned(),
                Read::Behind => return told + " behind",
                Read::Wait => return told + " wait",
                Read::End => return told + " end",
            });
        }
    }

    #[test]
    fn a_reader_gets_what_is_after_its_position_in_order() {
        let hub = Hub::new(0, false);
        let mut reader = Position::after(0);
        assert_eq!(read(&hub, &mut reader), " wait");
        hub.show([event(1, "a"), preview("b"), event(2, "b"), preview("c")]);
        assert_eq!(read(&hub, &mut reader), "1p2p wait");
        hub.show([event(3, "c")]);
        assert_eq!(read(&hub, &mut reader), "3 wait");
        assert_eq!(read(&hub, &mut Position::after(1)), "p2p3 wait");
    }

    #[test]
    fn a_reader_of_what_is_only_in_the_store_is_behind_until_it_has_read_it() {
        let hub = Hub::new(5, false);
        let mut reader = Position::after(2);
        assert_eq!(read(&hub, &mut reader), " behind");
        reader.seen(5);
        assert_eq!(read(&hub, &mut reader), " wait");
    }

    #[test]
    fn a_reader_that_the_ring_has_left_is_behind_also_when_it_lost_only_previews() {
        let hub = Hub::new(0, false);
        let mut reader = Position::after(0);
        hub.show([event(1, "a"), preview("start")]);
        assert_eq!(read(&hub, &mut reader), "1p wait");
        hub.show((0..2 * RING_ITEMS).map(|_| preview("x")));
        assert_eq!(read(&hub, &mut reader), " behind");
        hub.show([event(2, "b")]);
        let told = read(&hub, &mut reader);
        assert!(told.starts_with('p') && told.ends_with("2 wait"), "{told}");
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_and_small_at_rest() {
        let hub = Hub::new(0, false);
        let text = "x".repeat(RING_BYTES / 4);
        hub.show((1..=10).map(|seq| event(seq, &text)));
        assert!(hub.ring().bytes <= RING_BYTES);
        assert_eq!(read(&hub, &mut Position::after(9)), "10 wait");
        assert_eq!(read(&hub, &mut Position::after(0)), " behind");
        hub.rest();
        assert_eq!(hub.ring().items.len(), 1);
    }

    #[test]
    fn every_type_of_event_counts_what_it_holds() {
        let long = "x".repeat(100_000);
        let content = serde_json::json!([{"type": "text", "text": long}]);
        let call = domain::EventId::random();
        for event in [
            serde_json::json!({"type": "user.message", "content": content}),
            serde_json::json!({"type": "user.message", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": long}}]}),
            serde_json::json!({"type": "user.custom_tool_result", "custom_tool_use_id": call, "content": content}),
            serde_json::json!({"type": "user.tool_confirmation", "tool_use_id": call, "result": "deny", "deny_message": long}),
            serde_json::json!({"type": "system.message", "content": content}),
            serde_json::json!({"type": "agent.message", "content": content}),
            serde_json::json!({"type": "agent.tool_use", "name": "bash", "input": {"command": long}}),
            serde_json::json!({"type": "agent.tool_result", "tool_use_id": call, "content": content}),
            serde_json::json!({"type": "agent.custom_tool_use", "name": "weather", "input": {"city": long}}),
            serde_json::json!({"type": "session.updated", "agent": {"system": long}}),
        ] {
            let body: Body = serde_json::from_value(event.clone()).unwrap();
            assert!(size(&body) >= long.len(), "{}", event["type"]);
        }
    }

    #[test]
    fn readers_that_are_behind_share_what_is_large() {
        let hub = Hub::new(0, false);
        let read = |text: &str| {
            let content = vec![ContentBlock::text(text)];
            let events = vec![logged(1, Body::UserMessage { content })];
            hub.share(events).remove(0)
        };
        let large = "x".repeat(LARGE_BYTES);
        let (one, other) = (read(&large), read(&large));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(one.json().unwrap().as_ptr(), other.json().unwrap().as_ptr());
        assert!(!Arc::ptr_eq(&read("small"), &read("small")));
        drop((one, other));
        read(&large);
        assert_eq!(hub.large.lock().unwrap().len(), 1, "what nobody has is let go of");
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_for_items_and_for_the_end() {
        let hub = Arc::new(Hub::new(0, false));
        let mut reader = Position::after(0);
        assert_eq!(read(&hub, &mut reader), " wait");
        {
            let mut waiting = std::pin::pin!(hub.changed(&reader));
            assert!(futures_util::poll!(&mut waiting).is_pending());
            hub.show([event(1, "a")]);
            waiting.await;
        }
        assert_eq!(read(&hub, &mut reader), "1 wait");
        hub.close();
        hub.changed(&reader).await;
        assert_eq!(read(&hub, &mut reader), " end");
    }
}
