//! A session's events as server-sent events.
//!
//! ```text
//! id: sevt_…                 of an event; a client that comes back names the last one in `last-event-id`
//! event: agent.message       the type; official clients drop a record without it
//! data: {…}
//! ```

use crate::ending::Ending;
use crate::following::{Following, Shown};
use crate::reply::{Body, BoxError, Reply};
use bytes::Bytes;
use control::EventStream;
use futures_util::{FutureExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use metrics::OpenStream;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::Span;
use wire::{ErrorBody, ErrorType};

const PING: Duration = Duration::from_secs(15);
/// Records that are there together go together, up to this.
const TOGETHER: usize = 64 << 10;

struct Streaming {
    following: Following,
    ending: Ending,
    pings: Interval,
    ended: bool,
    /// Of the request that opened it: what is logged of it is its.
    span: Span,
    _open: OpenStream,
}

pub(crate) fn reply(events: EventStream, previews: Vec<String>, ending: Ending, open: OpenStream) -> Reply {
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let streaming = Streaming {
        following: Following::new(events, previews),
        ending,
        pings,
        ended: false,
        span: Span::current(),
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
                () = self.ending.streams_end() => return None,
                next = self.following.next() => self.take(next, &mut out),
                _ = self.pings.tick() => record(&mut out, &Shown::new(None, "ping", &json!({"type": "ping"}))),
            }
        }
        while out.len() < TOGETHER && !self.ended {
            match self.following.next().now_or_never() {
                Some(next) => self.take(next, &mut out),
                None => break,
            }
        }
        self.pings.reset();
        Some(out.into())
    }

    fn take(&mut self, next: Result<Option<Shown>, control::AccessError>, out: &mut Vec<u8>) {
        match next {
            Ok(Some(shown)) => record(out, &shown),
            Ok(None) => self.ended = true,
            Err(error) => {
                tracing::error!(parent: &self.span, %error, "a stream broke");
                let body = ErrorBody::new(ErrorType::ApiError, "the stream broke: connect again");
                record(out, &Shown::new(None, "error", &body));
                self.ended = true;
            }
        }
    }
}

fn record(out: &mut Vec<u8>, shown: &Shown) {
    if let Some(id) = &shown.id {
        out.extend(format!("id: {id}\n").into_bytes());
    }
    out.extend(format!("event: {}\ndata: {}\n\n", shown.kind, shown.json).into_bytes());
}
