//! What sessions wait for inside the host.

use crate::latency::Latency;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Of all sessions; cheap to clone.
#[derive(Clone, Default)]
pub struct SessionMeter {
    starts: Latency,
    failed_starts: Counter,
    appends: Latency,
}

impl SessionMeter {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sandbox_start_seconds",
            "From asking for a sandbox to having it, of those that were built",
            self.starts.clone(),
        );
        registry.register(
            "sandbox_start_failures",
            "Sandboxes that could not be built",
            self.failed_starts.clone(),
        );
        registry.register(
            "event_append_lag_seconds",
            "From a line's arrival to its place on the disk, of the oldest line of each append",
            self.appends.clone(),
        );
    }

    pub fn sandbox_started(&self, took: Duration) {
        self.starts.observe(took);
    }

    pub fn sandbox_failed(&self) {
        self.failed_starts.inc();
    }

    pub fn appended(&self, lag: Duration) {
        self.appends.observe(lag);
    }
}
