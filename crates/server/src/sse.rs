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
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use metrics::OpenStream;
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::Span;
use wire::{ErrorBody, ErrorType};

const SHUT_OUT: &str = "the key of this stream was revoked";
const PING: Duration = Duration::from_secs(15);
/// Records that are there together go together, up to this. What is larger is not copied.
const TOGETHER: usize = 64 << 10;

struct Streaming {
    following: Following,
    terms: Terms,
    pings: Interval,
    /// What is to be sent next, before anything else.
    ready: VecDeque<Bytes>,
    ended: bool,
    /// Of the request that opened it: what is logged of it is its.
    span: Span,
}

/// What ends a stream from outside, and who counts it.
pub(crate) struct Terms {
    pub(crate) ending: Ending,
    /// The key that opened it opens nothing any more.
    pub(crate) shut_out: BoxFuture<'static, ()>,
    pub(crate) _open: OpenStream,
}

pub(crate) fn reply(events: EventStream, previews: Vec<String>, terms: Terms) -> Reply {
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let streaming = Streaming {
        following: Following::new(events, previews),
        terms,
        pings,
        ready: VecDeque::new(),
        ended: false,
        span: Span::current(),
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
    /// The next part of the records; nothing after the last.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(part) = self.ready.pop_front() {
            return Some(part);
        }
        let mut out = Records::default();
        while out.is_empty() {
            if self.ended {
                return None;
            }
            tokio::select! {
                biased;
                () = self.terms.ending.streams_end() => return None,
                () = &mut self.terms.shut_out => {
                    self.break_off(ErrorType::AuthenticationError, SHUT_OUT, &mut out);
                }
                next = self.following.next() => self.take(next, &mut out),
                _ = self.pings.tick() => out.push(&Shown::new("ping", &json!({"type": "ping"}))),
            }
        }
        while out.has_room() && !self.ended {
            match self.following.next().now_or_never() {
                Some(next) => self.take(next, &mut out),
                None => break,
            }
        }
        self.pings.reset();
        self.ready = out.into_parts();
        self.ready.pop_front()
    }

    fn take(&mut self, next: Result<Option<Shown>, control::AccessError>, out: &mut Records) {
        match next {
            Ok(Some(shown)) => out.push(&shown),
            Ok(None) => self.ended = true,
            Err(error) => {
                tracing::error!(parent: &self.span, %error, "a stream broke");
                self.break_off(ErrorType::ApiError, "the stream broke: connect again", out);
            }
        }
    }

    /// The last record says why.
    fn break_off(&mut self, kind: ErrorType, why: &str, out: &mut Records) {
        out.push(&Shown::new("error", &ErrorBody::new(kind, why)));
        self.ended = true;
    }
}

/// Records that go out together: small ones as one part, and what is large by itself.
#[derive(Default)]
struct Records {
    small: Vec<u8>,
    parts: VecDeque<Bytes>,
}

impl Records {
    fn push(&mut self, shown: &Shown) {
        if let Some(id) = &shown.id {
            self.small.extend(format!("id: {id}\n").into_bytes());
        }
        self.small
            .extend(format!("event: {}\ndata: ", shown.kind).into_bytes());
        if shown.json.len() < TOGETHER {
            self.small.extend_from_slice(&shown.json);
        } else {
            self.parts.push_back(std::mem::take(&mut self.small).into());
            self.parts.push_back(shown.json.clone());
        }
        self.small.extend_from_slice(b"\n\n");
    }

    fn is_empty(&self) -> bool {
        self.small.is_empty()
    }

    fn has_room(&self) -> bool {
        self.parts.is_empty() && self.small.len() < TOGETHER
    }

    fn into_parts(mut self) -> VecDeque<Bytes> {
        self.parts.push_back(self.small.into());
        self.parts
    }
}
