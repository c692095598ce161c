//! The server: accepts connections until it is told to end, and then lets the last answers out.

use crate::answer::Answering;
use crate::reply::{Body, BoxError};
use crate::route::Endpoint;
use crate::{Api, Config, Ending, Limits, connection, routes};
use bytes::Bytes;
use futures_util::future::select_all;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// After the machine refused a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that is ready to [`run`](Self::run).
pub struct Server {
    answering: Arc<Answering>,
    limits: Limits,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("there is nothing to listen on")]
    NoListener,
}

impl Server {
    pub(crate) fn new(config: Config, api: Api) -> Self {
        let mut routes = routes::all();
        if config.open_metrics {
            routes::metrics::open(&mut routes);
        }
        Self {
            answering: Arc::new(Answering::new(&config, api, routes)),
            limits: config.limits,
        }
    }

    /// Every endpoint that there is.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let routes = self.answering.routes();
        routes.map(crate::route::Route::endpoint).collect()
    }

    /// Answers one request, without a connection.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        self.answering.answer(request).await
    }

    /// How to end it.
    pub fn ending(&self) -> Ending {
        self.answering.ending.clone()
    }

    /// Serves until its [`ending`](Self::ending), and then until the last answer and the last stream are out. What is still
    /// open when the time for that is over is cut.
    pub async fn run(self, listeners: Vec<TcpListener>) -> Result<(), ServeError> {
        if listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        let ending = self.ending();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = ending.closed() => break,
                Some(_) = connections.join_next() => {}
                accepted = accept(&listeners), if connections.len() < self.limits.connections => match accepted {
                    Ok(stream) => {
                        let (answering, limits) = (Arc::clone(&self.answering), self.limits.clone());
                        connections.spawn(connection::serve(answering, limits, stream));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listeners);
        let late = async {
            ending.streams_end().await;
            tokio::time::sleep(self.limits.drain).await;
        };
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = late => tracing::warn!(after = ?self.limits.drain, "connections that were still open are cut"),
        }
        Ok(())
    }
}

async fn accept(listeners: &[TcpListener]) -> std::io::Result<TcpStream> {
    let accepting = listeners.iter().map(|listener| Box::pin(listener.accept()));
    let (accepted, _, _) = select_all(accepting).await;
    accepted.map(|(stream, _)| stream)
}
