//! One connection: HTTP/1.1 with limits on what a slow or greedy client can hold.

use crate::answer::Answering;
use crate::config::Limits;
use crate::ending::{Ending, UnderWay};
use crate::paced::Paced;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// For the first request of a connection, when the server is ending.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

pub(crate) async fn serve(answering: Arc<Answering>, limits: Limits, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone at once");
        return;
    }
    let ending = answering.ending.clone();
    let first = FirstRequest::expected(&ending);
    let comes = first.clone();
    let afterwards = Afterwards::default();
    let place = afterwards.clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answering = Arc::clone(&answering);
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        request.extensions_mut().insert(place.clone());
        let under_way = answering.ending.begin();
        comes.came();
        async move {
            let answer = answering.answer(request).await;
            drop(under_way);
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that has said all it has to say still gets its answer.
        .half_close(true)
        .header_read_timeout(limits.head_deadline)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Paced::new(stream, limits.silence)), service)
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        came = wind_down(&ending, &first) => {
            if !came {
                return;
            }
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    if let Some(rest) = afterwards.take() {
        rest.await;
    }
}

/// Waits until the server is ending, and then a little for the first request; whether it came.
async fn wind_down(ending: &Ending, first: &FirstRequest) -> bool {
    ending.closed().await;
    tokio::time::timeout(FIRST_REQUEST, first.came.cancelled())
        .await
        .is_ok()
}

/// A client that has just connected is about to ask for something, and is not to be turned away then.
#[derive(Clone)]
struct FirstRequest {
    came: CancellationToken,
    expected: Arc<Mutex<Option<UnderWay>>>,
}

impl FirstRequest {
    fn expected(ending: &Ending) -> Self {
        Self {
            came: CancellationToken::new(),
            expected: Arc::new(Mutex::new(Some(ending.begin()))),
        }
    }

    fn came(&self) {
        self.came.cancel();
        let expected = self.expected.lock();
        expected.unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What a connection is for when its last answer is out: it keeps its place among all connections, and the end of the
/// server waits for it.
#[derive(Clone, Default)]
pub(crate) struct Afterwards(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Afterwards {
    pub(crate) fn set(&self, rest: impl Future<Output = ()> + Send + 'static) {
        *self.place() = Some(Box::pin(rest));
    }

    fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.place().take()
    }

    fn place(&self) -> MutexGuard<'_, Option<BoxFuture<'static, ()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
