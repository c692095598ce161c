//! A client that was connected to a host before it said anything: after `CONNECT`, or on a port that is neither 80
//! nor 443. If it begins with TLS, its `ClientHello` must name that host, so that an allowed name is no cover for
//! another one. What is not TLS passes.
//!
//! On port 443 the upstream's bytes wait for the client's first; elsewhere the upstream may speak first, as mail and
//! database servers do, and then the connection is not looked into.

use crate::Transport;
use crate::dial::Upstream;
use crate::opening::{Opening, OpeningError, read_opening, send_alert};
use crate::relay::{close_after_reading, relay};
use crate::sandbox::Sandbox;
use policy::Host;
use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// `seen` is what the client has sent already.
pub(crate) async fn tunnel(
    sandbox: &Sandbox,
    mut client: TcpStream,
    mut seen: Vec<u8>,
    mut upstream: Upstream,
) {
    let checked = check(sandbox, &mut client, &mut seen, &upstream).await;
    match checked {
        Ok(Ok(())) => relay(client, &seen, upstream, sandbox.config.idle_timeout).await,
        Ok(Err(error)) => {
            sandbox.refuse(Transport::Tls, upstream.account.destination(), &error.to_string());
            upstream.account.end(error.to_string());
            drop(upstream);
            send_alert(&mut client, error.alert()).await;
            close_after_reading(client).await;
        }
        Err(error) => upstream
            .account
            .end(format!("nothing came of the client: {}", error.kind())),
    }
}

async fn check(
    sandbox: &Sandbox,
    client: &mut TcpStream,
    seen: &mut Vec<u8>,
    upstream: &Upstream,
) -> io::Result<Result<(), OpeningError>> {
    let destination = upstream.account.destination();
    let Host::Name(name) = &destination.host else {
        // Who allowed an address trusts what is there, under any name.
        return Ok(Ok(()));
    };
    let config = &sandbox.config;
    if destination.port != 443 && seen.is_empty() {
        let first = timeout(config.idle_timeout, first_to_speak(client, seen, upstream));
        if first.await?? == Speaker::Upstream {
            return Ok(Ok(()));
        }
    }
    let opening = read_opening(client, seen, config.max_client_hello_bytes);
    match timeout(config.opening_timeout, opening).await?? {
        Opening::Closed => Ok(Ok(())),
        opening => Ok(opening.check_name(name)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Speaker {
    Client,
    Upstream,
}

/// The client's bytes are kept; the upstream's stay where they are.
async fn first_to_speak(
    client: &mut TcpStream,
    seen: &mut Vec<u8>,
    upstream: &Upstream,
) -> io::Result<Speaker> {
    tokio::select! {
        biased;
        read = client.read_buf(seen) => read.map(|_| Speaker::Client),
        peeked = async { upstream.stream.get_ref().peek(&mut [0]).await } => peeked.map(|_| Speaker::Upstream),
    }
}
