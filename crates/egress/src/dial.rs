//! The way out, the same for every listener: decide, resolve, filter the addresses, connect. No name is asked for
//! before a rule allowed it, and no address is connected to that the rules do not admit.

use crate::ResolveError;
use crate::Transport;
use crate::meter::Metered;
use crate::sandbox::{Account, Sandbox};
use policy::{Destination, Host, Reason};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 6;
/// How long one address may be silent before the next is tried beside it (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("this sandbox may not connect to {destination}: {reason}")]
    Refused {
        destination: Destination,
        reason: Reason,
    },
    #[error("{destination} was not reached")]
    Resolve {
        destination: Destination,
        source: ResolveError,
    },
    #[error("{destination} was not reached")]
    Connect {
        destination: Destination,
        source: io::Error,
    },
    #[error("{destination} did not answer within {limit:?}")]
    Timeout {
        destination: Destination,
        limit: Duration,
    },
}

impl DialError {
    /// What `--allow-host` would take to allow it.
    pub(crate) fn pattern_to_allow(&self) -> Option<String> {
        let Self::Refused { destination, reason } = self else {
            return None;
        };
        let host = match reason {
            Reason::Address { address, class } if !class.is_never_allowed() => Host::Address(*address),
            Reason::Address { .. } => return None,
            _ => destination.host.clone(),
        };
        Some(match destination.port {
            80 | 443 => host.to_string(),
            port => format!("{host}:{port}"),
        })
    }
}

/// An allowed connection, counted.
pub(crate) struct Upstream {
    pub(crate) stream: Metered<TcpStream>,
    pub(crate) account: Account,
}

pub(crate) async fn dial(
    sandbox: &Arc<Sandbox>,
    transport: Transport,
    destination: &Destination,
) -> Result<Upstream, DialError> {
    let refused = |reason: Reason| {
        sandbox.refuse(transport, destination, &reason.to_string());
        DialError::Refused {
            destination: destination.clone(),
            reason,
        }
    };
    let decision = sandbox.rules.decide(destination);
    if !decision.allowed {
        return Err(refused(decision.reason));
    }
    let resolved = resolve(sandbox, destination).await;
    let addresses = match &resolved {
        Ok(addresses) => admitted(sandbox, addresses, destination.port).map_err(refused)?,
        Err(_) => Vec::new(),
    };
    let mut account = sandbox.open_account(transport, destination, decision.rule);
    let connected = match resolved {
        Ok(_) => connect(destination, &addresses, sandbox.config.connect_timeout).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => {
            let stream = Metered::new(stream);
            account.attach(stream.meter());
            Ok(Upstream { stream, account })
        }
        Err(error) => {
            account.end(describe(&error));
            Err(error)
        }
    }
}

/// The error with its cause, without the destination.
pub(crate) fn describe(error: &DialError) -> String {
    match error {
        DialError::Refused { reason, .. } => reason.to_string(),
        DialError::Resolve { source, .. } => source.to_string(),
        DialError::Connect { source, .. } => describe_io(source),
        DialError::Timeout { limit, .. } => format!("no answer within {limit:?}"),
    }
}

pub(crate) fn describe_io(error: &io::Error) -> String {
    error.kind().to_string()
}

async fn resolve(sandbox: &Sandbox, destination: &Destination) -> Result<Vec<IpAddr>, DialError> {
    let name = match &destination.host {
        Host::Address(address) => return Ok(vec![*address]),
        Host::Name(name) => name,
    };
    let answer = timeout(sandbox.config.resolve_timeout, sandbox.resolver.resolve(name)).await;
    let failed = |source| DialError::Resolve {
        destination: destination.clone(),
        source,
    };
    let addresses = answer
        .map_err(|_| failed(ResolveError::Timeout))?
        .map_err(failed)?;
    if addresses.is_empty() {
        return Err(failed(ResolveError::NotFound));
    }
    Ok(addresses)
}

/// What the rules let through; if nothing, why the first is not.
fn admitted(sandbox: &Sandbox, addresses: &[IpAddr], port: u16) -> Result<Vec<SocketAddr>, Reason> {
    let mut kept = Vec::new();
    let mut first_reason = None;
    for address in addresses {
        match sandbox.rules.admit_address(*address, port) {
            Ok(()) => kept.push(SocketAddr::new(address.to_canonical(), port)),
            Err(reason) => _ = first_reason.get_or_insert(reason),
        }
    }
    match first_reason {
        Some(reason) if kept.is_empty() => Err(reason),
        _ => Ok(kept),
    }
}

async fn connect(
    destination: &Destination,
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<TcpStream, DialError> {
    let stream = timeout(limit, connect_first(in_turns(addresses)))
        .await
        .map_err(|_| DialError::Timeout {
            destination: destination.clone(),
            limit,
        })?
        .map_err(|source| DialError::Connect {
            destination: destination.clone(),
            source,
        })?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays with Nagle's delay");
    }
    Ok(stream)
}

/// Families by turns, beginning with the resolver's first, so that a family without a route costs little.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv4() == first_is_v4);
    let longest = first.len().max(second.len());
    let turns = (0..longest).flat_map(|turn| [first.get(turn), second.get(turn)]);
    turns.flatten().copied().take(MAX_ADDRESSES).collect()
}

/// The first address that answers. Attempts that lost end here.
async fn connect_first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = addresses[..] {
        return TcpStream::connect(only).await;
    }
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => _ = attempts.spawn(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(error) => failure = io::Error::other(error),
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn families_are_tried_by_turns_beginning_with_the_first() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|a| a.parse().unwrap()).collect() };
        let given = parse(&[
            "[2606::1]:1",
            "[2606::2]:1",
            "[2606::3]:1",
            "1.1.1.1:1",
            "1.1.1.2:1",
        ]);
        let turns = parse(&[
            "[2606::1]:1",
            "1.1.1.1:1",
            "[2606::2]:1",
            "1.1.1.2:1",
            "[2606::3]:1",
        ]);
        assert_eq!(in_turns(&given), turns);
        assert_eq!(in_turns(&[]), []);
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = {
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            taken.local_addr().unwrap()
        };
        let open = listener.local_addr().unwrap();
        let stream = connect_first(vec![closed, closed, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        let error = connect_first(vec![closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
