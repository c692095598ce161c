//! What passes the gateway and the egress proxy.

use crate::latency::Latency;
use domain::{Cost, Usage};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

type Label = [(&'static str, &'static str); 1];

/// Model calls, as the ledger has them; cheap to clone.
#[derive(Clone, Default)]
pub struct ModelMeter {
    calls: Family<Label, Counter>,
    seconds: Latency,
    first_seconds: Latency,
    tokens: Family<Label, Counter>,
    cost: Counter<f64, AtomicU64>,
}

/// Decisions about connections and names; cheap to clone.
#[derive(Clone)]
pub struct EgressMeter {
    decisions: Family<Label, Counter>,
    allowed: Counter,
    refused: Counter,
}

impl ModelMeter {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "model_requests",
            "Model requests that ended, by how they did",
            self.calls.clone(),
        );
        registry.register(
            "model_request_seconds",
            "From a model request to the end of its answer",
            self.seconds.clone(),
        );
        registry.register(
            "session_first_model_request_seconds",
            "From the message that a session's first sandbox is made for to the session's first model request",
            self.first_seconds.clone(),
        );
        registry.register(
            "model_tokens",
            "Tokens of model requests that ended, by kind",
            self.tokens.clone(),
        );
        registry.register(
            "model_cost_usd",
            "List price of model requests that ended, where the model has one",
            self.cost.clone(),
        );
    }

    /// A session's first model request, so long after it was waited for.
    pub fn first_request(&self, after: Duration) {
        self.first_seconds.observe(after);
    }

    pub fn ended(&self, outcome: &'static str, took: Duration, usage: &Usage, cost: Option<Cost>) {
        self.calls.get_or_create(&[("outcome", outcome)]).inc();
        self.seconds.observe(took);
        let kinds = [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_input_tokens),
            ("cache_creation_5m", usage.cache_creation_5m_input_tokens),
            ("cache_creation_1h", usage.cache_creation_1h_input_tokens),
        ];
        for (kind, tokens) in kinds {
            self.tokens.get_or_create(&[("kind", kind)]).inc_by(tokens);
        }
        self.cost.inc_by(cost.unwrap_or(Cost::ZERO).usd());
    }
}

impl Default for EgressMeter {
    fn default() -> Self {
        let decisions = Family::<Label, Counter>::default();
        let counter = |decision| decisions.get_or_create(&[("decision", decision)]).clone();
        let (allowed, refused) = (counter("allowed"), counter("refused"));
        Self {
            decisions,
            allowed,
            refused,
        }
    }
}

impl EgressMeter {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "egress_decisions",
            "Connections and names that sandboxes asked for, by what was decided",
            self.decisions.clone(),
        );
    }

    pub fn decided(&self, allowed: bool) {
        let counter = if allowed { &self.allowed } else { &self.refused };
        counter.inc();
    }
}
