//! Names to addresses, at the host. Asked only for names that a rule allows, and only when a connection is made.

use async_trait::async_trait;
use policy::HostName;
use std::net::IpAddr;

#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses, unfiltered, in the order in which to try them.
    async fn resolve(&self, host: &HostName) -> Result<Vec<IpAddr>, ResolveError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("there is no such host")]
    NotFound,
    #[error("no name server answered in time")]
    Timeout,
    #[error("the lookup failed: {reason}")]
    Failed { reason: String },
}

#[async_trait]
impl Resolve for outbound::Resolver {
    async fn resolve(&self, host: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        outbound::Resolver::resolve(self, host.as_str())
            .await
            .map_err(|error| match error {
                outbound::ResolveError::NotFound { .. } => ResolveError::NotFound,
                outbound::ResolveError::Timeout { .. } => ResolveError::Timeout,
                other => ResolveError::Failed {
                    reason: describe(&other),
                },
            })
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
