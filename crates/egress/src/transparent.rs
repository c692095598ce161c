//! Connections of programs that know no proxy. The address they connected to is synthetic and tells the name that was
//! meant; what they say must agree with it. Nothing is connected to before that.

use crate::Transport;
use crate::dial::{DialError, dial};
use crate::http::{Front, serve};
use crate::names::{Lease, is_synthetic};
use crate::opening::{ACCESS_DENIED, Opening, OpeningError, read_opening, send_alert};
use crate::relay::{close_after_reading, relay, reset};
use crate::sandbox::Sandbox;
use crate::tunnel::tunnel;
use policy::{Destination, Host};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

pub(crate) async fn handle(sandbox: Arc<Sandbox>, client: TcpStream) {
    let Ok(local) = client.local_addr() else { return };
    let IpAddr::V4(address) = local.ip().to_canonical() else {
        return;
    };
    // The listeners are bound to the wildcard: a connection to any other address was not meant for egress.
    if !is_synthetic(address) {
        return;
    }
    let Some(lease) = sandbox.names.lease(address, Instant::now()) else {
        let reason = "no name was given this address";
        sandbox.refuse_text(Transport::Tcp, &address.to_string(), local.port(), reason);
        return;
    };
    let destination = Destination::new(Host::Name(lease.name().clone()), local.port());
    match local.port() {
        80 => serve(sandbox, client, Front::Direct(destination)).await,
        443 => handle_tls(&sandbox, client, &lease, &destination).await,
        _ => handle_other(&sandbox, client, &destination).await,
    }
}

async fn handle_tls(sandbox: &Arc<Sandbox>, mut client: TcpStream, lease: &Lease, destination: &Destination) {
    let config = &sandbox.config;
    let mut seen = Vec::new();
    let opening = read_opening(&mut client, &mut seen, config.max_client_hello_bytes);
    let Ok(Ok(opening)) = timeout(config.opening_timeout, opening).await else {
        return;
    };
    let checked = match opening {
        Opening::Closed => return,
        Opening::Other => Err(OpeningError::NotTls),
        hello => hello.check_name(lease.name()),
    };
    if let Err(error) = checked {
        sandbox.refuse(Transport::Tls, destination, &error.to_string());
        send_alert(&mut client, error.alert()).await;
        return close_after_reading(client).await;
    }
    match dial(sandbox, Transport::Tls, destination).await {
        Ok(upstream) => relay(client, &seen, upstream, config.idle_timeout).await,
        Err(DialError::Refused { .. }) => {
            send_alert(&mut client, ACCESS_DENIED).await;
            close_after_reading(client).await;
        }
        // As it would be without anything between: the connection breaks.
        Err(_) => reset(&client),
    }
}

async fn handle_other(sandbox: &Arc<Sandbox>, client: TcpStream, destination: &Destination) {
    match dial(sandbox, Transport::Tcp, destination).await {
        Ok(upstream) => tunnel(sandbox, client, Vec::new(), upstream).await,
        Err(_) => reset(&client),
    }
}
