//! Egress for all sandboxes of this process, and the service of one sandbox: from its sockets to its end.

use crate::listener::{Gate, accept};
use crate::rate::Rate;
use crate::sandbox::Sandbox;
use crate::{Audit, Config, Resolve, dns, http, transparent};
use domain::SessionId;
use policy::Rules;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// DNS over TCP is rare and each connection is short.
const MAX_DNS_CONNECTIONS: usize = 16;

/// Sockets bound inside the sandbox's network namespace; the stream sockets are listening.
#[derive(Debug)]
pub struct EgressSockets {
    pub proxy: OwnedFd,
    pub dns_udp: OwnedFd,
    pub dns_tcp: OwnedFd,
    pub transparent: Vec<OwnedFd>,
}

#[derive(Debug, thiserror::Error)]
#[error("the {socket} socket cannot be served")]
pub struct ServeError {
    pub socket: &'static str,
    pub source: io::Error,
}

/// Cheap to clone; clones share the limit over all sandboxes.
#[derive(Clone)]
pub struct Egress {
    config: Arc<Config>,
    resolver: Arc<dyn Resolve>,
    audit: Arc<dyn Audit>,
    connections: Arc<Semaphore>,
}

impl Egress {
    pub fn new(config: Config, resolver: Arc<dyn Resolve>, audit: Arc<dyn Audit>) -> Self {
        let connections = Arc::new(Semaphore::new(config.max_connections_total));
        Self {
            config: Arc::new(config),
            resolver,
            audit,
            connections,
        }
    }

    /// Serves the sockets until the returned value is stopped or dropped. Must be called inside a tokio runtime.
    pub fn serve(
        &self,
        session: SessionId,
        rules: Rules,
        sockets: EgressSockets,
    ) -> Result<Serving, ServeError> {
        let proxy = listener("proxy", sockets.proxy)?;
        let dns_tcp = listener("DNS stream", sockets.dns_tcp)?;
        let dns_udp = datagrams("DNS datagram", sockets.dns_udp)?;
        let transparent: Result<Vec<_>, _> = sockets
            .transparent
            .into_iter()
            .map(|socket| listener("transparent", socket))
            .collect();
        let transparent = transparent?;

        let (resolver, audit) = (Arc::clone(&self.resolver), Arc::clone(&self.audit));
        let sandbox = Arc::new(Sandbox::new(
            session,
            rules,
            Arc::clone(&self.config),
            resolver,
            audit,
        ));
        let gate = self.gate(self.config.max_connections, self.config.connections_per_second);
        start_dns(
            &sandbox,
            dns_udp,
            dns_tcp,
            self.gate(MAX_DNS_CONNECTIONS, self.config.connections_per_second),
        );
        start_proxy(&sandbox, proxy, gate.clone());
        for listener in transparent {
            start_transparent(&sandbox, listener, gate.clone());
        }
        Ok(Serving { sandbox })
    }

    fn gate(&self, connections: usize, per_second: u32) -> Gate {
        Gate {
            mine: Arc::new(Semaphore::new(connections)),
            everyones: Arc::clone(&self.connections),
            rate: Arc::new(Mutex::new(Rate::new(per_second, Instant::now()))),
        }
    }
}

/// One sandbox being served. Dropping it ends the listeners and cuts all connections.
pub struct Serving {
    sandbox: Arc<Sandbox>,
}

impl Serving {
    /// Ends it and waits until nothing of it runs: every connection's end is audited then.
    pub async fn stop(self) {
        self.sandbox.tasks.stop();
        self.sandbox.tasks.ended().await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.sandbox.tasks.stop();
    }
}

fn start_dns(sandbox: &Arc<Sandbox>, udp: tokio::net::UdpSocket, tcp: tokio::net::TcpListener, gate: Gate) {
    let tasks = &sandbox.tasks;
    tasks.start("dns", dns::serve_datagrams(Arc::clone(sandbox), udp));
    let shared = Arc::clone(sandbox);
    let serve = move |client| dns::serve_stream(Arc::clone(&shared), client);
    tasks.start(
        "dns listener",
        accept(tcp, gate, tasks.clone(), "dns stream", serve),
    );
}

fn start_proxy(sandbox: &Arc<Sandbox>, listener: tokio::net::TcpListener, gate: Gate) {
    let tasks = &sandbox.tasks;
    let shared = Arc::clone(sandbox);
    let serve = move |client| http::serve(Arc::clone(&shared), client, http::Front::Proxy);
    tasks.start(
        "proxy listener",
        accept(listener, gate, tasks.clone(), "proxy", serve),
    );
}

fn start_transparent(sandbox: &Arc<Sandbox>, listener: tokio::net::TcpListener, gate: Gate) {
    let tasks = &sandbox.tasks;
    let shared = Arc::clone(sandbox);
    let serve = move |client| transparent::handle(Arc::clone(&shared), client);
    tasks.start(
        "transparent listener",
        accept(listener, gate, tasks.clone(), "transparent", serve),
    );
}

fn listener(socket: &'static str, descriptor: OwnedFd) -> Result<tokio::net::TcpListener, ServeError> {
    let listener = TcpListener::from(descriptor);
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|source| ServeError { socket, source })
}

fn datagrams(socket: &'static str, descriptor: OwnedFd) -> Result<tokio::net::UdpSocket, ServeError> {
    let datagrams = UdpSocket::from(descriptor);
    datagrams
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UdpSocket::from_std(datagrams))
        .map_err(|source| ServeError { socket, source })
}
