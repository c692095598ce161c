//! The gateway of a process: one upstream, one price table, one ledger, and any number of sessions.

use crate::limits::Limits;
use crate::retry::Retries;
use crate::serving::Serving;
use crate::session::{Session, SessionGrant};
use crate::upstream::Upstream;
use crate::{Ledger, call, serving};
use bytes::Bytes;
use domain::PriceTable;
use outbound::{Client, ClientConfig, Resolver};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use time::OffsetDateTime;

/// What the time is, for the ledger.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

#[derive(Clone)]
pub struct Config {
    pub upstream: Upstream,
    pub prices: Arc<PriceTable>,
    pub limits: Limits,
    pub retries: Retries,
    /// Ids that may be called; any if there is no list.
    pub models: Option<Vec<String>>,
    pub resolver: Resolver,
    pub clock: Clock,
}

impl Config {
    /// Everything but the upstream as it usually is.
    pub fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            prices: Arc::new(PriceTable::built_in().clone()),
            limits: Limits::default(),
            retries: Retries::default(),
            models: None,
            resolver: Resolver::system(),
            clock: Arc::new(OffsetDateTime::now_utc),
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) ledger: Arc<dyn Ledger>,
}

impl Gateway {
    pub fn new(config: Config, ledger: Arc<dyn Ledger>) -> Self {
        let resolver = config.resolver.clone();
        let client = Client::new(ClientConfig {
            resolver,
            ..ClientConfig::default()
        });
        Self {
            shared: Arc::new(Shared {
                config,
                client,
                ledger,
            }),
        }
    }

    /// The body of the upstream's good answer to `GET` of a path, with the real key: what it says of its models.
    /// Costs nothing and is in no ledger. Nothing where it does not answer well, or not in time.
    pub async fn describe(&self, path_and_query: &str) -> Option<Bytes> {
        let path = path_and_query.parse().ok()?;
        call::describe(&self.shared, path).await
    }

    /// Serves a listening TCP socket for one session, on the runtime that this is called on.
    pub fn serve(&self, grant: SessionGrant, listener: OwnedFd) -> io::Result<Serving> {
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let session = Session::new(grant, self.shared.config.limits.concurrent_calls);
        Ok(serving::start(
            Arc::clone(&self.shared),
            Arc::new(session),
            listener,
        ))
    }
}
