//! Answers: one JSON value, a file, or lines that come as they happen.

use crate::changes::Walk;
use crate::files::Download;
use crate::output::Cursor;
use crate::processes::Process;
use crate::refusal::Refusal;
use bytes::Bytes;
use guest_protocol::error::ErrorDetail;
use guest_protocol::{ErrorBody, ErrorKind};
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Lines are sent in pieces of about so many bytes.
const PIECE: usize = 32 << 10;

pub(crate) enum Answer {
    Whole(Option<Bytes>),
    Download(Download),
    Output {
        process: Rc<Process>,
        cursor: Cursor,
        follow: bool,
    },
    Changes(Walk),
}

pub(super) fn json(value: &impl Serialize) -> Result<Response<Answer>, Refusal> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Refusal::new(ErrorKind::Internal, format!("cannot write the answer: {error}")))?;
    Ok(stream(Answer::Whole(Some(Bytes::from(bytes)))))
}

pub(super) fn done() -> Response<Answer> {
    stream(Answer::Whole(Some(Bytes::from_static(b"{}"))))
}

pub(super) fn stream(answer: Answer) -> Response<Answer> {
    Response::new(answer)
}

pub(super) fn refusal(refusal: &Refusal) -> Response<Answer> {
    let mut response = stream(Answer::Whole(Some(Bytes::from(error_text(refusal)))));
    let status = StatusCode::from_u16(refusal.kind.status());
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn error_text(refusal: &Refusal) -> String {
    let detail = ErrorDetail {
        kind: refusal.kind,
        message: refusal.message.clone(),
    };
    serde_json::to_string(&ErrorBody { error: detail }).unwrap_or_default()
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match &mut *self {
            Self::Whole(bytes) => Ok(bytes.take()),
            Self::Download(download) => download.next().transpose(),
            Self::Changes(walk) => Ok(changes(walk)),
            Self::Output {
                process,
                cursor,
                follow,
            } => {
                let context = if *follow {
                    context
                } else {
                    &mut Context::from_waker(Waker::noop())
                };
                let polled = process.log_mut().poll_read(cursor, context);
                let lines = if *follow { ready!(polled) } else { now(polled) };
                lines.map(|lines| (!lines.is_empty()).then(|| Bytes::from(lines)))
            }
        };
        Poll::Ready(bytes.transpose().map(|bytes| bytes.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Download(download) => SizeHint::with_exact(download.left()),
            Self::Output { .. } | Self::Changes(_) => SizeHint::default(),
        }
    }
}

/// What there is, without waiting.
fn now(polled: Poll<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    match polled {
        Poll::Ready(lines) => lines,
        Poll::Pending => Ok(Vec::new()),
    }
}

/// Some lines of changes; an error is the last line.
fn changes(walk: &mut Walk) -> Option<Bytes> {
    let mut lines = Vec::new();
    while lines.len() < PIECE
        && let Some(change) = walk.next()
    {
        let line = match change {
            Ok(change) => serde_json::to_string(&change).unwrap_or_default(),
            Err(refusal) => error_text(&refusal),
        };
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
    (!lines.is_empty()).then(|| Bytes::from(lines))
}
