//! What routes have to work with.

use async_trait::async_trait;
use bytes::Bytes;
use hosted::{Hosted, Resources};
use metrics::Metrics;
use std::sync::Arc;
use traces::Traces;

/// Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub resources: Resources,
    /// Nothing where sessions are not served.
    pub sessions: Option<Hosted>,
    /// Where models run.
    pub upstream: Arc<dyn Upstream>,
    /// What is counted of the server, for `/metrics`.
    pub metrics: Metrics,
    pub traces: Traces,
}

/// The model API behind the gateway, as far as it is asked about itself.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// The body of its answer to `GET` of this path and query with the real key; nothing where it is not good.
    async fn describe(&self, path_and_query: &str) -> Option<Bytes>;
}

/// Nobody: what is known of models is the price table.
pub struct NoUpstream;

#[async_trait]
impl Upstream for NoUpstream {
    async fn describe(&self, _path_and_query: &str) -> Option<Bytes> {
        None
    }
}
