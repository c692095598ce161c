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
        let answer = self.collector.take_last();
        let (lost, failed) = match exported {
            Ok(Ok(())) if answer.rejected == 0 => return,
            Ok(Ok(())) => (answer.rejected.min(count), "it rejects them".to_owned()),
            Ok(Err(error)) => (count, error.to_string()),
            Err(_) => {
                let failed = format!("it did not take a batch within {:?}", self.batches.timeout);
                (count, failed)
            }
        };
        self.lost.fetch_add(lost, Ordering::Relaxed);
        self.reason = Some(answer.failure.unwrap_or(failed));
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Request};
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_http::HttpClient as _;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use prost::Message as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[derive(Debug)]
    struct NeverAsked;

    impl SpanExporter for NeverAsked {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            std::future::pending().await
        }
    }

    /// Asks the collector, whatever there is to export, and is content with any answer.
    #[derive(Debug)]
    struct Asks {
        collector: Collector,
        url: String,
    }

    impl SpanExporter for Asks {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let request = Request::post(&self.url).body(Bytes::new()).unwrap();
            self.collector.send_bytes(request).await.unwrap();
            Ok(())
        }
    }

    /// Answers one request with this body.
    async fn answering(body: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            let said = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(said.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        });
        url
    }

    #[tokio::test]
    async fn what_a_collector_rejects_of_a_batch_is_lost_and_no_more_than_that() {
        for (rejected, expected) in [(0, 0), (2, 2), (1000, 3)] {
            let partial_success = Some(ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message: "too old".to_owned(),
            });
            let url = answering(ExportTraceServiceResponse { partial_success }.encode_to_vec()).await;
            let collector = Collector::new(Duration::from_mins(1), HeaderMap::new());
            let asks = Asks {
                collector: collector.clone(),
                url,
            };
            let batches = Batches {
                queue: 3,
                spans: 3,
                delay: Duration::from_secs(1),
                timeout: Duration::from_mins(1),
            };
            let (queue, mut exporting) = queue(asks, collector, batches, CancellationToken::new());
            let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
            let tracer = provider.tracer("test");
            for _ in 0..3 {
                drop(tracer.start("span"));
            }
            let batch = exporting.next().await.unwrap();
            assert_eq!(batch.len(), 3);
            exporting.export(batch).await;
            assert_eq!(exporting.lost.load(Ordering::Relaxed), expected);
            let reason = (expected > 0).then(|| "it rejects them: \"too old\"".to_owned());
            assert_eq!(exporting.reason, reason);
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
        let collector = Collector::new(Duration::from_secs(1), HeaderMap::new());
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
