//! A session's events over a `WebSocket`, in both directions.
//!
//! ```text
//!   server -> client   an event, a preview or {"type":"ping","behind":true}, one a frame
//!   client -> server   the body of POST …/events
//!   server -> client   {"type":"sent","data":[…]}, or an error in the API's shape; in the order of what was sent
//!
//!   closed by the server   1000 the session has ended         1003 a binary frame       1008 the key, or too slow
//!                          1001 the server is ending          1007 no UTF-8             1009 too large
//!                          1011 a failure inside              1002 no WebSocket
//! ```
//!
//! Each direction holds one frame. A frame of a client counts as a request: it is checked, metered and answered as one,
//! with the key that opened the connection, which may have been revoked since.

mod client;
pub(crate) mod handshake;
mod metered;
mod talk;

use crate::api_error::ApiError;
use crate::call::Call;
use crate::connection::Afterwards;
use crate::following::Following;
use crate::reply::Reply;
use crate::route::BODY_BYTES;
use client::Client;
use domain::SessionId;
use futures_util::FutureExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use metered::Metered;
use talk::Talk;
use tracing::Instrument as _;

/// Switches protocols, or says why not.
pub(crate) fn reply(mut call: Call, session: SessionId, following: Following) -> Result<Reply, ApiError> {
    let reply = handshake::accept(&call.head)?;
    let upgrade = call.head.extensions.remove::<OnUpgrade>();
    let afterwards = call.head.extensions.remove::<Afterwards>();
    let (Some(upgrade), Some(afterwards)) = (upgrade, afterwards) else {
        return Err(handshake::required());
    };
    let limits = call.reader.limits().clone();
    let share = call.reader.share(Some(call.workspace()?));
    let ending = call.ending.clone();
    let shut_out = call.shut_out().shared();
    let open = call.api.metrics.http.stream();
    let client = Client::new(call, session)?;
    // What is logged of it is of the request that opened it.
    let talking = async move {
        let _open = open;
        match upgrade.await {
            Ok(upgraded) => {
                let (socket, flow) = Metered::new(TokioIo::new(upgraded), share, BODY_BYTES);
                let talk = Talk {
                    limits,
                    flow,
                    ending,
                    shut_out,
                };
                talk.run(socket, client, following).await;
            }
            Err(error) => tracing::debug!(%error, "a connection did not become a WebSocket"),
        }
    };
    afterwards.set(talking.in_current_span());
    Ok(reply)
}
