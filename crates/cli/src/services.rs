//! What the command line needs of the rest of hostler: the binary puts it together, since only it knows all parts.

use async_trait::async_trait;
use configuration::Tuning;
use control::{Control, Lifetime, Readers};
use futures_util::future::BoxFuture;
use metrics::Metrics;
use sandbox::{Backend, Report};
use std::path::PathBuf;
use std::sync::Arc;
use store::Store;
use traces::Traces;

/// Starts everything that sessions need, in this process.
#[async_trait]
pub trait Services: Send + Sync {
    /// Dropping the future before it is ready leaves nothing running.
    async fn start(&self, options: &StartOptions) -> Result<Running, StartError>;
}

#[derive(Debug, Clone)]
pub struct StartOptions {
    /// Made if it is not there.
    pub data: PathBuf,
    pub upstream: Upstream,
    /// Sandboxes to keep ready.
    pub pool: usize,
    /// What sandboxes outlive.
    pub lifetime: Lifetime,
    pub tuning: Tuning,
}

impl StartOptions {
    /// For what looks at a data directory and runs no agent.
    pub(crate) fn to_look_at(data: PathBuf) -> Self {
        Self {
            data,
            upstream: Upstream::None,
            pool: 0,
            lifetime: Lifetime::Host,
            tuning: Tuning::default(),
        }
    }
}

/// Who answers model requests.
#[derive(Clone)]
pub enum Upstream {
    /// Nobody: no agent is going to run.
    None,
    Model {
        key: String,
        /// `https://api.anthropic.com` unless given.
        base_url: Option<String>,
    },
    /// The simulated model plays this script, as JSON.
    Simulated {
        /// For people.
        name: String,
        json: String,
    },
}

impl std::fmt::Debug for Upstream {
    /// Never with the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Model { base_url, .. } => formatter
                .debug_struct("Model")
                .field("base_url", base_url)
                .finish_non_exhaustive(),
            Self::Simulated { name, .. } => formatter
                .debug_struct("Simulated")
                .field("name", name)
                .finish_non_exhaustive(),
        }
    }
}

/// Everything, started.
pub struct Running {
    pub control: Control,
    pub store: Store,
    /// What is counted of it.
    pub metrics: Metrics,
    pub traces: Traces,
    /// What the model API says of itself.
    pub upstream: Arc<dyn server::Upstream>,
    pub backend: Arc<dyn Backend>,
    /// What the backend enforces here.
    pub report: Report,
    pub data: PathBuf,
    /// Ends everything, in bounded time. Where the data directory is handed over, those who still read are left.
    pub shutdown: Shutdown,
}

pub type Shutdown = Box<dyn FnOnce(How) -> BoxFuture<'static, Option<Readers>> + Send>;

/// How everything ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With every sandbox.
    End,
    /// Sandboxes that outlive their host go on.
    Leave,
    /// So they do, and the data directory is free for the next instance.
    HandOver,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Instance(#[from] store::InstanceError),
    #[error("cannot open the store")]
    Store(#[from] store::OpenError),
    #[error(transparent)]
    Backend(#[from] sandbox::Error),
    #[error(transparent)]
    Control(#[from] control::StartError),
    #[error("{reason}")]
    Script { reason: String },
    /// Of the gateway, the egress proxy and what else the binary starts.
    #[error("the {part} cannot start: {reason}")]
    Part { part: &'static str, reason: String },
}
