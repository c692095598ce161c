//! From spans that ended to batches at the collector: a bounded queue and one task.
//!
//! Whoever ends a span waits for nothing: where the queue is full the span is lost. What is lost is counted, and told
//! once in a while.

use crate::collector::Collector;
use crate::settings::Batches;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Between two lines about what was lost.
const SILENCE: Duration = Duration::from_mins(1);

/// Where ended spans go.
#[derive(Debug)]
pub(crate) struct Queue {
    spans: mpsc::Sender<SpanData>,
    lost: Arc<AtomicU64>,
}

/// What takes them out again.
pub(crate) struct Exporting<E> {
    exporter: E,
    collector: Collector,
    batches: Batches,
    spans: mpsc::Receiver<SpanData>,
    lost: Arc<AtomicU64>,
    /// When the next line about it may come.
    silent_until: Option<Instant>,
    /// Of the last batch that was not taken.
    reason: Option<String>,
    ending: CancellationToken,
}

pub(crate) fn queue<E: SpanExporter>(
    exporter: E,
    collector: Collector,
    batches: Batches,
    ending: CancellationToken,
) -> (Queue, Exporting<E>) {
    let (sender, spans) = mpsc::channel(batches.queue);
    let lost = Arc::new(AtomicU64::new(0));
    let queue = Queue {
        spans: sender,
        lost: Arc::clone(&lost),
    };
    let exporting = Exporting {
        exporter,
        collector,
        batches,
        spans,
        lost,
        silent_until: None,
        reason: None,
        ending,
    };
    (queue, exporting)
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl<E: SpanExporter> Exporting<E> {
    /// Until it is told to end, and has exported what is there then.
    pub(crate) async fn run(mut self) {
        while let Some(batch) = self.next().await {
            self.export(batch).await;
            self.tell(false);
        }
        self.tell(true);
    }

    /// The next batch that is full, or old enough, or the last.
    async fn next(&mut self) -> Option<Vec<SpanData>> {
        let first = tokio::select! {
            biased;
            first = self.spans.recv() => first,
            () = self.ending.cancelled() => None,
        };
        let mut batch = vec![first?];
        let by = Instant::now() + self.batches.delay;
        while batch.len() < self.batches.spans {
            let more = tokio::select! {
                biased;
                more = self.spans.recv() => more,
                () = self.ending.cancelled() => None,
                () = sleep_until(by) => None,
            };
            match more {
                Some(span) => batch.push(span),
                None => break,
            }
        }
        Some(batch)
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let exported = timeout(self.batches.timeout, self.exporter.export(batch)).await;
        let failed = match exported {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it did not take a batch within {:?}", self.batches.timeout),
        };
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.reason = Some(self.collector.take_failure().unwrap_or(failed));
    }

    fn tell(&mut self, is_last: bool) {
        let now = Instant::now();
        if !is_last && self.silent_until.is_some_and(|until| now < until) {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        self.silent_until = Some(now + SILENCE);
        let reason = self.reason.take();
        let reason = reason
            .as_deref()
            .unwrap_or("they came faster than the collector takes them");
        tracing::warn!(lost, reason, "spans of traces were lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    #[derive(Debug)]
    struct NeverAsked;

    impl SpanExporter for NeverAsked {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted_and_costs_nobody_time() {
        let batches = Batches {
            queue: 2,
            spans: 1,
            delay: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        };
        let collector = Collector::new(Duration::from_secs(1));
        let (queue, _exporting) = queue(NeverAsked, collector, batches, CancellationToken::new());
        let lost = Arc::clone(&queue.lost);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        for _ in 0..10 {
            drop(tracer.start("span"));
        }
        assert_eq!(lost.load(Ordering::Relaxed), 8);
    }
}
