//! One connection: HTTP/1.1 with limits on what a slow or greedy client can hold.

use crate::answer::Answering;
use crate::config::Limits;
use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpStream;

pub(crate) async fn serve(answering: Arc<Answering>, limits: Limits, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone at once");
        return;
    }
    let draining = answering.draining.clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answering = Arc::clone(&answering);
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        async move { Ok::<_, Infallible>(answering.answer(request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that has said all it has to say still gets its answer.
        .half_close(true)
        .header_read_timeout(limits.head_deadline)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = draining.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
