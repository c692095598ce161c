//! The way to the collector, over the HTTP client that everything else here uses.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use opentelemetry_http::{HttpClient, HttpError};
use outbound::{Client, ClientConfig};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Of an answer, which says little.
const MAX_ANSWER: usize = 64 << 10;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Collector {
    client: Client,
    /// For one request and its answer.
    timeout: Duration,
    failure: Arc<Mutex<Option<String>>>,
}

impl Collector {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            client: Client::new(ClientConfig::default()),
            timeout,
            failure: Arc::default(),
        }
    }

    /// Why the last request was not answered, or not well; the exporter says less of it.
    pub(crate) fn take_failure(&self) -> Option<String> {
        self.failure().take()
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let asked = tokio::time::timeout(self.timeout, self.ask(request)).await;
        let answered = asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout).into()));
        *self.failure() = match &answered {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        answered
    }
}
