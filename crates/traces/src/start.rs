//! What all spans share: the tracer, and the task that exports them.

use crate::batches;
use crate::collector::Collector;
use crate::settings::{Encoding, Settings};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Compression, Protocol, RetryPolicy, SpanExporter};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanExporter as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// For the last spans, when the server ends.
const PATIENCE: Duration = Duration::from_secs(3);

/// Traces of a server, or none; cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(pub(crate) Option<Arc<Started>>);

pub(crate) struct Started {
    pub tracer: SdkTracer,
    ending: CancellationToken,
    exporting: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct StartError(#[from] ExporterBuildError);

impl Traces {
    /// In the runtime that this is called in. The collector need not be there.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let collector = Collector::new(settings.timeout, settings.headers);
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(settings.endpoint)
            .with_protocol(match settings.encoding {
                Encoding::Protobuf => Protocol::HttpBinary,
                Encoding::Json => Protocol::HttpJson,
            })
            .with_timeout(settings.timeout)
            .with_retry_policy(RetryPolicy::recommended())
            .with_http_client(collector.clone());
        if settings.gzip {
            exporter = exporter.with_compression(Compression::Gzip);
        }
        let mut exporter = exporter.build()?;
        let attributes = settings
            .resource
            .into_iter()
            .map(|(key, value)| KeyValue::new(key, value));
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(attributes)
            .build();
        exporter.set_resource(&resource);
        let ending = CancellationToken::new();
        let (queue, exporting) = batches::queue(exporter, collector, settings.batches, ending.clone());
        let provider = SdkTracerProvider::builder()
            .with_sampler(settings.sampler)
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        let started = Started {
            tracer: provider.tracer("hostler"),
            ending,
            exporting: Mutex::new(Some(tokio::spawn(exporting.run()))),
        };
        Ok(Self(Some(Arc::new(started))))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Exports what has ended by now, and nothing any more. A collector that does not take it is waited for a
    /// moment only.
    pub async fn finish(&self) {
        let Some(started) = &self.0 else { return };
        started.ending.cancel();
        let exporting = started.exporting.lock();
        let Some(mut exporting) = exporting.unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        match tokio::time::timeout(PATIENCE, &mut exporting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the export of traces failed"),
            Err(_) => {
                tracing::warn!(waited = ?PATIENCE, "the last spans of traces were lost: nobody took them");
                exporting.abort();
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}
