//! HTTP in the clear: the proxy, and connections to port 80 of a synthetic address. Each request of a connection is
//! decided anew, and its `Host` must be the host that it is for.
//!
//! A `CONNECT` ends the HTTP of its connection: what follows is a tunnel, run by the same task.

mod forward;
mod refusal;
mod target;

use crate::Transport;
use crate::dial::{Upstream, dial};
use crate::meter::Metered;
use crate::sandbox::Sandbox;
use crate::tunnel::tunnel;
use forward::ForwardBody;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use policy::Destination;
use refusal::Refusal;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;

const MAX_HEADERS: usize = 128;

pub(crate) type Body = Either<Full<Bytes>, ForwardBody>;

/// What the client believes to talk to.
#[derive(Debug, Clone)]
pub(crate) enum Front {
    Proxy,
    /// The host whose synthetic address was connected to.
    Direct(Destination),
}

/// What a `CONNECT` leaves for the end of the connection's HTTP.
type TunnelSlot = Arc<Mutex<Option<(OnUpgrade, Upstream)>>>;

pub(crate) async fn serve(sandbox: Arc<Sandbox>, client: TcpStream, front: Front) {
    let slot = TunnelSlot::default();
    let client = Metered::new(client);
    let meter = client.meter();
    let config = Arc::clone(&sandbox.config);
    let service = hyper::service::service_fn(|request| {
        let (sandbox, front, slot) = (Arc::clone(&sandbox), front.clone(), Arc::clone(&slot));
        async move { Ok::<_, Infallible>(answer(&sandbox, &front, &slot, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.opening_timeout)
        .max_buf_size(config.max_head_bytes)
        .max_header_size(config.max_head_bytes)
        .max_headers(MAX_HEADERS)
        .half_close(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(client), service)
        .with_upgrades();
    // A response may be awaited longer than the client is idle; after that a client that neither sends nor takes
    // anything is cut.
    let limit = config
        .idle_timeout
        .max(config.response_timeout + config.opening_timeout);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "a client's HTTP ended early");
        },
        () = meter.idle(limit) => return,
    }
    let waiting = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((on_upgrade, upstream)) = waiting {
        run_tunnel(&sandbox, on_upgrade, upstream).await;
    }
}

async fn run_tunnel(sandbox: &Sandbox, on_upgrade: OnUpgrade, mut upstream: Upstream) {
    let parts = match on_upgrade.await {
        Ok(upgraded) => upgraded.downcast::<TokioIo<Metered<TcpStream>>>(),
        Err(_) => return upstream.account.end("the client went away"),
    };
    // The client's stream is the one that was given to hyper, so it has the type that was given.
    let Ok(parts) = parts else { return };
    tunnel(
        sandbox,
        parts.io.into_inner().into_inner(),
        parts.read_buf.into(),
        upstream,
    )
    .await;
}

async fn answer(
    sandbox: &Arc<Sandbox>,
    front: &Front,
    slot: &TunnelSlot,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let answered = async {
        let destination = target::of(sandbox, front, &request)?;
        if request.method() == Method::CONNECT {
            let upstream = dial(sandbox, Transport::Connect, &destination).await?;
            let on_upgrade = hyper::upgrade::on(&mut request);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((on_upgrade, upstream));
            return Ok(Response::new(Body::Left(Full::default())));
        }
        let upstream = dial(sandbox, Transport::Http, &destination).await?;
        Ok::<_, Refusal>(
            forward::forward(sandbox, request, &destination, upstream)
                .await?
                .map(Body::Right),
        )
    };
    answered.await.unwrap_or_else(Refusal::into_response)
}
