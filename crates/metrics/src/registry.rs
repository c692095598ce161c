//! All metrics of a server, and their text.

use crate::{EgressMeter, HttpMeter, ModelMeter, SessionMeter};
use domain::{SandboxState, SessionStatus};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// Of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const SESSIONS: [SessionStatus; 4] = [
    SessionStatus::Idle,
    SessionStatus::Running,
    SessionStatus::Rescheduling,
    SessionStatus::Terminated,
];
const SANDBOXES: [(SandboxState, &str); 5] = [
    (SandboxState::Starting, "starting"),
    (SandboxState::Running, "running"),
    (SandboxState::Idle, "idle"),
    (SandboxState::Frozen, "frozen"),
    (SandboxState::Hibernated, "hibernated"),
];

/// The registry with its handles; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    pub http: HttpMeter,
    pub models: ModelMeter,
    pub egress: EgressMeter,
    pub sessions: SessionMeter,
    registered: Arc<Registered>,
}

struct Registered {
    registry: Registry,
    sessions: Family<[(&'static str, &'static str); 1], Gauge>,
    sandboxes: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl Metrics {
    /// Of a server of this version, with nothing counted.
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("hostler");
        let build: Family<[(&'static str, &'static str); 1], Gauge> = Family::default();
        build.get_or_create(&[("version", version)]).set(1);
        registry.register("build_info", "Which hostler this is", build);
        let (sessions, sandboxes) = (Family::default(), Family::default());
        registry.register("sessions", "Sessions, by status", sessions.clone());
        registry.register("sandboxes", "Sandboxes, by state", sandboxes.clone());
        let (http, models) = (HttpMeter::default(), ModelMeter::default());
        let (egress, waits) = (EgressMeter::default(), SessionMeter::default());
        http.register(&mut registry);
        models.register(&mut registry);
        egress.register(&mut registry);
        waits.register(&mut registry);
        Self {
            http,
            models,
            egress,
            sessions: waits,
            registered: Arc::new(Registered {
                registry,
                sessions,
                sandboxes,
            }),
        }
    }

    /// Everything that was counted, and how many sessions and sandboxes there are now; those that were destroyed are
    /// not told of.
    pub fn text(
        &self,
        sessions: &[(SessionStatus, u64)],
        sandboxes: &[(SandboxState, u64)],
        spare_sandboxes: u64,
    ) -> Result<String, fmt::Error> {
        let number = |count: Option<u64>| i64::try_from(count.unwrap_or(0)).unwrap_or(i64::MAX);
        for status in SESSIONS {
            let found = sessions.iter().find(|(found, _)| *found == status);
            let gauge = self
                .registered
                .sessions
                .get_or_create(&[("status", status.as_str())]);
            gauge.set(number(found.map(|(_, count)| *count)));
        }
        for (state, name) in SANDBOXES {
            let found = sandboxes.iter().find(|(found, _)| *found == state);
            let gauge = self.registered.sandboxes.get_or_create(&[("state", name)]);
            gauge.set(number(found.map(|(_, count)| *count)));
        }
        let spare = self.registered.sandboxes.get_or_create(&[("state", "spare")]);
        spare.set(number(Some(spare_sandboxes)));
        let mut text = String::new();
        encode(&mut text, &self.registered.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    /// Of this program.
    fn default() -> Self {
        Self::new(env!("CARGO_PKG_VERSION"))
    }
}
