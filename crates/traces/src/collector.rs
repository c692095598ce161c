//! The way to the collector, over the HTTP client that everything else here uses, and what came of the last request.

use crate::rejected::rejected;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
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
    /// With each request. The exporter would decode them once more.
    headers: HeaderMap,
    last: Arc<Mutex<Last>>,
}

/// What came of a request; the exporter says less of it.
#[derive(Debug, Default)]
pub(crate) struct Last {
    /// Why it was not answered, or not well.
    pub(crate) failure: Option<String>,
    /// Spans of it that the collector did not take, though it answered well.
    pub(crate) rejected: u64,
}

impl Collector {
    pub(crate) fn new(timeout: Duration, headers: HeaderMap) -> Self {
        Self {
            client: Client::new(ClientConfig::default()),
            timeout,
            headers,
            last: Arc::default(),
        }
    }

    pub(crate) fn take_last(&self) -> Last {
        std::mem::take(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner))
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
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let asked = tokio::time::timeout(self.timeout, self.ask(request)).await;
        let answered = asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout).into()));
        let (failure, rejected) = match &answered {
            Ok(answer) if answer.status().is_success() => match rejected(answer.headers(), answer.body()) {
                Some((spans, reason)) => (Some(reason), spans),
                None => (None, 0),
            },
            Ok(answer) => (Some(format!("it answers {}", answer.status())), 0),
            Err(error) => (Some(error.to_string()), 0),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last { failure, rejected };
        answered
    }
}
