//! Where in which trace something happens: what a span's children, other servers and log lines need to know of it.

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::HashMap;
use std::fmt;

const TRACEPARENT: &str = "traceparent";
/// Of the first version; later ones only add to it. The propagator takes shorter ones for what they are not.
const LENGTH: usize = 55;

tokio::task_local! {
    static CURRENT: Option<Context>;
}

/// A span, by its ids; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Context(pub(crate) SpanContext);

impl Context {
    /// That of a client, by the headers of W3C Trace Context. What is wrong in them is as if it were not there.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let traceparent = headers.get(TRACEPARENT)?;
        if traceparent.len() < LENGTH {
            return None;
        }
        Self::extracted(&TraceContextPropagator::new().extract(&HeaderExtractor(headers)))
    }

    /// From [`traceparent`](Self::traceparent).
    pub(crate) fn parse(traceparent: &str) -> Option<Self> {
        if traceparent.len() < LENGTH {
            return None;
        }
        let headers = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        Self::extracted(&TraceContextPropagator::new().extract(&headers))
    }

    fn extracted(context: &opentelemetry::Context) -> Option<Self> {
        let found = context.span().span_context().clone();
        found.is_valid().then_some(Self(found))
    }

    /// In the form of the header, to be kept.
    pub(crate) fn traceparent(&self) -> String {
        let Self(context) = self;
        let flags = context.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
    }

    /// Of the request that the present task works on, if it does and traces are recorded.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok().flatten()
    }

    /// For log lines.
    pub fn trace_id(&self) -> impl fmt::Display + fmt::Debug + use<> {
        self.0.trace_id()
    }

    pub(crate) fn as_parent(&self) -> opentelemetry::Context {
        opentelemetry::Context::new().with_remote_span_context(self.0.clone())
    }
}

/// Runs a future as the work on a request: what it begins belongs to the request's trace.
pub async fn within<F: Future>(request: Option<Context>, work: F) -> F::Output {
    CURRENT.scope(request, work).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_passes_through_a_header() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, VALID.parse().unwrap());
        headers.insert("tracestate", "vendor=1".parse().unwrap());
        let context = Context::of_headers(&headers).unwrap();
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.0.trace_state().header(), "vendor=1");
        assert!(context.0.is_sampled());
        assert_eq!(context.traceparent(), VALID);
        assert_eq!(Context::parse(VALID).unwrap().traceparent(), VALID);
    }

    #[test]
    fn what_is_no_context_is_none() {
        assert_eq!(Context::of_headers(&HeaderMap::new()), None);
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for wrong in [
            "",
            "x",
            "00-1-2-01",
            zero,
            &VALID.to_uppercase(),
            &VALID.replace("00-", "ff-"),
        ] {
            assert_eq!(Context::parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_current_request_is_that_of_the_task() {
        assert_eq!(Context::current(), None);
        let context = Context::parse(VALID);
        let seen = within(context.clone(), async { Context::current() }).await;
        assert_eq!(seen, context);
    }
}
