//! The server: a listener, its connections, and their end.
//!
//! One task accepts and owns the tasks of all connections; it ends, and they with it, when the server is dropped.

use crate::attempts::Attempts;
use crate::ledger::Ledger;
use crate::routes::{self, State};
use crate::script::Script;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const HEADER_DEADLINE: Duration = Duration::from_secs(30);
/// How long replies that are being played may go on after `stop`.
const DRAIN: Duration = Duration::from_secs(2);
/// After the machine refused a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct Options {
    /// The key that requests must carry; any or none if there is no key.
    pub api_key: Option<String>,
    /// How many entries the ledger keeps.
    pub ledger_capacity: usize,
    /// Hears of each request as it comes.
    pub arrivals: Option<UnboundedSender<Arrival>>,
}

/// A request that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When its head was read.
    pub at: Instant,
    /// The whole of it.
    pub last_user_text: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api_key: None,
            ledger_capacity: 10_000,
            arrivals: None,
        }
    }
}

/// A simulated model that is being served. Ends when dropped.
pub struct Server {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Port 0 takes any free one.
    pub async fn bind(address: impl ToSocketAddrs, script: Script, options: Options) -> io::Result<Self> {
        Self::serve(TcpListener::bind(address).await?, script, options)
    }

    pub fn serve(listener: TcpListener, script: Script, options: Options) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let ledger = Arc::new(Ledger::new(options.ledger_capacity));
        let stop = CancellationToken::new();
        let state = Arc::new(State {
            script,
            options,
            ledger: Arc::clone(&ledger),
            attempts: Attempts::default(),
            global_position: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, state, stop.clone()));
        Ok(Self {
            address,
            ledger,
            stop,
            accepting,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `ANTHROPIC_BASE_URL` is set to.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Takes no more requests, lets replies end for a moment, then cuts them.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.accepting).await {
            tracing::error!(%error, "the simulated model did not end well");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&state), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is left is aborted with the set.
    let _ = tokio::time::timeout(DRAIN, drained).await;
}

async fn connection(stream: TcpStream, state: Arc<State>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection was gone at once");
        return;
    }
    let service = service_fn(move |request| routes::answer(Arc::clone(&state), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
