//! One connection from a sandbox: HTTP/1.1 with limits on what a slow or greedy client can hold.

use crate::gateway::Shared;
use crate::routes;
use crate::session::Session;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const MAX_HEADERS: usize = 128;

pub(crate) async fn serve(shared: Arc<Shared>, session: Arc<Session>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(session = %session.id, %error, "a connection was gone at once");
        return;
    }
    let limits = shared.config.limits.clone();
    let cut = CancellationToken::new();
    let context = routes::Context {
        shared,
        session: Arc::clone(&session),
        connection: cut.clone(),
    };
    let service = service_fn(move |request| {
        let context = context.clone();
        async move { Ok::<_, std::convert::Infallible>(routes::answer(context, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_deadline)
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = cut.cancelled() => return,
        () = session.closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving => ended,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(session = %session.id, %error, "a connection ended early");
    }
}
