//! What an operator may set of the parts that the binary puts together, and what it is where nobody does.

use crate::values::JailerStart;
use domain::Limits;
use std::time::Duration;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Of sandboxes for which nobody asks for others.
    pub limits: Limits,
    pub jailer: JailerStart,
    pub models: ModelTuning,
    pub egress: EgressTuning,
}

/// Requests to the model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelTuning {
    /// Of one session.
    pub concurrent_calls: u32,
    /// Altogether; only what the model API did not begin with is sent again.
    pub attempts: u32,
    /// From a request to the head of a streamed answer.
    pub head_deadline: Duration,
    /// Silence within an answer.
    pub idle_deadline: Duration,
}

/// What sandboxes may ask of the proxy and the resolver outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressTuning {
    /// Of one sandbox at once.
    pub connections: u32,
    /// Of all sandboxes at once.
    pub connections_total: u32,
    pub connections_per_second: u32,
    pub dns_queries_per_second: u32,
    /// Over all addresses of a name.
    pub connect_deadline: Duration,
    /// Without a byte moving.
    pub idle_deadline: Duration,
}

impl Default for ModelTuning {
    fn default() -> Self {
        Self {
            concurrent_calls: 64,
            attempts: 3,
            head_deadline: Duration::from_mins(5),
            idle_deadline: Duration::from_mins(5),
        }
    }
}

impl Default for EgressTuning {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_total: 8192,
            connections_per_second: 500,
            dns_queries_per_second: 1000,
            connect_deadline: Duration::from_secs(15),
            idle_deadline: Duration::from_mins(15),
        }
    }
}
