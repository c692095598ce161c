//! A session's events as server-sent events.
//!
//! ```text
//! id: sevt_…                 of an event; a client that comes back names the last one in `last-event-id`
//! event: agent.message       the type; official clients drop a record without it
//! data: {…}
//! ```
//!
//! A client that does not read holds up nobody: it has one record on its way, and is served from the store when it comes
//! back to it. A ping says that it fell behind.

use crate::reply::{Body, BoxError, Reply};
use bytes::Bytes;
use control::{EventStream, Item};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use metrics::OpenStream;
use serde::Serialize;
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use wire::{ErrorBody, ErrorType, Preview};

const PING: Duration = Duration::from_secs(15);
/// Records that are there together go together, up to this.
const TOGETHER: usize = 64 << 10;

struct Streaming {
    events: EventStream,
    wanted: Previews,
    draining: CancellationToken,
    pings: Interval,
    ended: bool,
    _open: OpenStream,
}

/// Which previews a client wants, and of which events it has seen the start.
pub(crate) struct Previews {
    types: Vec<String>,
    started: HashSet<domain::EventId>,
}

impl Previews {
    pub(crate) fn of(types: Vec<String>) -> Self {
        Self {
            types,
            started: HashSet::new(),
        }
    }

    pub(crate) fn wants(&mut self, preview: &Preview) -> bool {
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

    pub(crate) fn ended(&mut self, event: &domain::EventId) {
        self.started.remove(event);
    }
}

pub(crate) fn reply(
    events: EventStream,
    previews: Vec<String>,
    draining: CancellationToken,
    open: OpenStream,
) -> Reply {
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let streaming = Streaming {
        events,
        wanted: Previews::of(previews),
        draining,
        pings,
        ended: false,
        _open: open,
    };
    let frames = stream::unfold(streaming, |mut streaming| async move {
        let bytes = streaming.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), streaming))
    });
    let body: Body = StreamBody::new(frames).boxed_unsync();
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    reply
}

impl Streaming {
    /// The next records; nothing after the last.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.is_empty() {
            if self.ended {
                return None;
            }
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return None,
                item = self.events.next() => self.take(item, &mut out),
                _ = self.pings.tick() => record(&mut out, None, "ping", &json!({"type": "ping"})),
            }
        }
        while out.len() < TOGETHER && !self.ended {
            match futures_util::FutureExt::now_or_never(self.events.next()) {
                Some(item) => self.take(item, &mut out),
                None => break,
            }
        }
        self.pings.reset();
        Some(out.into())
    }

    fn take(&mut self, item: Result<Option<Item>, control::AccessError>, out: &mut Vec<u8>) {
        match item {
            Ok(Some(Item::Event(logged))) => {
                let event = &logged.event;
                self.wanted.ended(&event.id);
                record(out, Some(event.id.as_str()), event.body.kind(), event);
            }
            Ok(Some(Item::Preview(preview))) => {
                if self.wanted.wants(&preview) {
                    record(out, None, kind(&preview), &*preview);
                }
            }
            Ok(Some(Item::Behind)) => {
                record(out, None, "ping", &json!({"type": "ping", "behind": true}));
            }
            Ok(None) => self.ended = true,
            Err(error) => {
                tracing::error!(%error, "a stream broke");
                let body = ErrorBody::new(ErrorType::ApiError, "the stream broke: connect again");
                record(out, None, "error", &body);
                self.ended = true;
            }
        }
    }
}

pub(crate) fn kind(preview: &Preview) -> &'static str {
    match preview {
        Preview::EventStart { .. } => "event_start",
        Preview::EventDelta { .. } => "event_delta",
    }
}

/// JSON has no line ends of its own, so the data is one line.
fn record<T: Serialize>(out: &mut Vec<u8>, id: Option<&str>, kind: &str, data: &T) {
    if let Some(id) = id {
        out.extend(format!("id: {id}\n").into_bytes());
    }
    out.extend(format!("event: {kind}\ndata: ").into_bytes());
    if let Err(error) = serde_json::to_writer(&mut *out, data) {
        tracing::error!(%error, kind, "an event cannot be written as JSON");
    }
    out.extend(b"\n\n");
}
