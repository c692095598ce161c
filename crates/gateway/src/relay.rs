//! A streamed answer on its way to the client: every byte as it comes, counted as it passes.
//!
//! The end of the message is held back until the ledger has closed the call, so that whoever acts on the end finds
//! the cost recorded. Nothing else waits.

use crate::api_error::error_event;
use crate::gateway::Config;
use crate::ledger::Ended;
use crate::limits::Limits;
use crate::meter::Meter;
use crate::scrub::Scrubber;
use crate::session::Charge;
use bytes::Bytes;
use domain::{Cost, Usage};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use outbound::BoxError;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) ended: Ended,
    pub(crate) model: Option<String>,
    pub(crate) usage: Usage,
    pub(crate) estimated: bool,
    pub(crate) cost: Option<Cost>,
    pub(crate) first_byte: Option<Duration>,
}

impl Report {
    pub(crate) fn without_use(ended: Ended) -> Self {
        Self {
            ended,
            model: None,
            usage: Usage::default(),
            estimated: false,
            cost: None,
            first_byte: None,
        }
    }
}

/// A report, and who waits until it is in the ledger.
pub(crate) struct Finished {
    pub(crate) report: Report,
    pub(crate) closed: oneshot::Sender<()>,
}

pub(crate) struct Relay {
    upstream: Incoming,
    meter: Meter,
    scrubber: Scrubber,
    charge: Charge,
    limits: Limits,
    received: Instant,
    first_byte: Option<Duration>,
    bytes: u64,
    idle: Pin<Box<Sleep>>,
    /// Until the report was made.
    finished: Option<oneshot::Sender<Finished>>,
    waiting: Option<Waiting>,
    stage: Stage,
}

/// The ledger has the report and is closing the call.
struct Waiting {
    closed: oneshot::Receiver<()>,
    held: Bytes,
}

enum Stage {
    Passing,
    /// Nothing follows what is held.
    Ending,
    /// The connection breaks after what is held.
    Breaking,
}

/// The upstream's stream broke, and so does this one.
#[derive(Debug, thiserror::Error)]
#[error("the model API cut its answer")]
struct Cut;

impl Relay {
    pub(crate) fn new(
        upstream: Incoming,
        charge: Charge,
        config: &Config,
        received: Instant,
        finished: oneshot::Sender<Finished>,
    ) -> Self {
        Self {
            upstream,
            meter: Meter::default(),
            scrubber: Scrubber::new(config.upstream.secret().cloned()),
            charge,
            limits: config.limits.clone(),
            received,
            first_byte: None,
            bytes: 0,
            idle: Box::pin(tokio::time::sleep(config.limits.upstream_idle)),
            finished: Some(finished),
            waiting: None,
            stage: Stage::Passing,
        }
    }

    /// Reports once, and then waits with what is held.
    fn finish(&mut self, ended: Ended, held: Bytes) {
        let Some(finished) = self.finished.take() else {
            self.waiting = None;
            if !held.is_empty() {
                // The call is closed already: nothing to wait for.
                let (sender, closed) = oneshot::channel();
                drop(sender);
                self.waiting = Some(Waiting { closed, held });
            }
            return;
        };
        let (usage, estimated) = self.meter.usage();
        let model = self.meter.model().map(str::to_owned);
        let cost = self.charge.update(model.as_deref(), usage);
        let report = Report {
            ended,
            model,
            usage,
            estimated,
            cost,
            first_byte: self.first_byte,
        };
        let (sender, closed) = oneshot::channel();
        drop(finished.send(Finished {
            report,
            closed: sender,
        }));
        self.waiting = Some(Waiting { closed, held });
    }

    /// What passes at once of bytes that arrived; nothing if they wait.
    fn take(&mut self, data: Bytes) -> Option<Bytes> {
        self.first_byte.get_or_insert_with(|| self.received.elapsed());
        self.bytes += data.len() as u64;
        self.meter.push(&data);
        let (usage, _) = self.meter.usage();
        self.charge.update(self.meter.model(), usage);
        let clean = self.scrubber.push(data);
        if self.finished.is_some() && self.meter.is_over() {
            let ended = if self.meter.is_complete() {
                Ended::Completed
            } else {
                Ended::CutByUpstream
            };
            self.finish(ended, clean);
            return None;
        }
        if self.bytes > self.limits.stream_bytes {
            let most = self.limits.stream_bytes;
            self.give_up(
                &format!("the model API's answer is larger than {most} bytes"),
                clean,
            );
            return None;
        }
        (!clean.is_empty()).then_some(clean)
    }

    /// The gateway itself ends the stream: readably where it stands between two events, else by breaking it.
    fn give_up(&mut self, message: &str, held: Bytes) {
        tracing::warn!(message, "a stream was ended");
        if self.meter.between_events() {
            self.stage = Stage::Ending;
            let event = error_event(message);
            self.finish(Ended::CutByUpstream, Bytes::from([held, event].concat()));
        } else {
            self.stage = Stage::Breaking;
            self.finish(Ended::CutByUpstream, held);
        }
    }

    /// The upstream's side of the stream is over.
    fn end(&mut self, broken: bool) {
        let held = self.scrubber.finish();
        self.stage = if broken { Stage::Breaking } else { Stage::Ending };
        self.finish(Ended::CutByUpstream, held);
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                // The ledger has a deadline of its own, so this ends.
                let _ = ready!(Pin::new(&mut waiting.closed).poll(context));
                let held = self
                    .waiting
                    .take()
                    .map(|waiting| waiting.held)
                    .unwrap_or_default();
                if !held.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(held))));
                }
            }
            match self.stage {
                Stage::Passing => {}
                Stage::Ending => return Poll::Ready(None),
                Stage::Breaking => return Poll::Ready(Some(Err(Cut.into()))),
            }
            match Pin::new(&mut self.upstream).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let deadline = tokio::time::Instant::now() + self.limits.upstream_idle;
                    self.idle.as_mut().reset(deadline);
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some(passing) = self.take(data) {
                        return Poll::Ready(Some(Ok(Frame::data(passing))));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::info!(%error, "the model API cut its answer");
                    self.end(true);
                }
                Poll::Ready(None) => self.end(false),
                Poll::Pending => {
                    ready!(self.idle.as_mut().poll(context));
                    let silence = self.limits.upstream_idle;
                    self.give_up(
                        &format!("the model API was silent for {silence:?}; try again"),
                        Bytes::new(),
                    );
                }
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.finish(Ended::CutByClient, Bytes::new());
    }
}
