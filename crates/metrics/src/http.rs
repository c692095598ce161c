//! The HTTP API, counted by route.

use crate::latency::Latency;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::Duration;

type Route = [(&'static str, &'static str); 2];
type Answered = [(&'static str, &'static str); 3];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Of the whole server; cheap to clone.
#[derive(Clone, Default)]
pub struct HttpMeter {
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Latency>,
    streams: Gauge,
}

/// Of one route.
pub struct RouteMeter {
    /// By the first digit of the status.
    classes: [Counter; CLASSES.len()],
    seconds: Latency,
}

/// A client that follows a session's events, until this is dropped.
pub struct OpenStream(Gauge);

impl HttpMeter {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "http_requests",
            "Requests that were answered, by route and class of status",
            self.requests.clone(),
        );
        registry.register(
            "http_request_seconds",
            "From a request's head to its answer's; a body that is streamed comes after it",
            self.seconds.clone(),
        );
        registry.register(
            "open_streams",
            "Clients that follow a session's events",
            self.streams.clone(),
        );
    }

    /// The counters of a route: `path` is its pattern, never what a client asked for.
    pub fn route(&self, method: &'static str, path: &'static str) -> RouteMeter {
        let route = [("method", method), ("route", path)];
        let class = |class| {
            let [method, path] = route;
            let counter = self.requests.get_or_create(&[method, path, ("status", class)]);
            counter.clone()
        };
        RouteMeter {
            classes: CLASSES.map(class),
            seconds: self.seconds.get_or_create(&route).clone(),
        }
    }

    pub fn stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }
}

impl RouteMeter {
    pub fn answered(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(counter) = self.classes.get(class) {
            counter.inc();
        }
        self.seconds.observe(took);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
