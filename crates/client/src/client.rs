//! Requests and their answers, one at a time. An answer that takes too long, or is too long, is an error.

use crate::answer::{is_of, not_ours, read, refusal, words};
use crate::records::Records;
use crate::{ClientError, UrlError};
use bytes::Bytes;
use domain::WorkspaceId;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use outbound::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const WORKSPACE: HeaderName = HeaderName::from_static("anthropic-workspace-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long to wait for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deadlines {
    /// For the head of an answer, and then for its body.
    answer: Duration,
    /// Between two signs of life of a stream: a server gives one every 15 seconds.
    silence: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            answer: Duration::from_mins(1),
            silence: Duration::from_secs(50),
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: outbound::Client,
    deadlines: Deadlines,
    scheme: Scheme,
    authority: Authority,
    /// Before the API's own paths; empty, or without a slash at its end.
    prefix: String,
    /// The key, and the workspace where one is named.
    headers: HeaderMap,
}

impl Client {
    /// `url` is what an official client takes as its base URL.
    pub fn new(url: &str, key: &str) -> Result<Self, UrlError> {
        let wrong = || UrlError::Url {
            url: url.chars().take(200).collect(),
        };
        let parts = url.trim().parse::<Uri>().map_err(|_| wrong())?.into_parts();
        let scheme = parts
            .scheme
            .filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let scheme = scheme.ok_or_else(wrong)?;
        let authority = parts.authority.ok_or_else(wrong)?;
        let path = parts
            .path_and_query
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        if authority.as_str().contains('@') || path.query().is_some() {
            return Err(UrlError::Besides);
        }
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Key);
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| UrlError::Key)?;
        authorization.set_sensitive(true);
        let deadlines = Deadlines::default();
        Ok(Self {
            http: http_client(deadlines),
            deadlines,
            scheme,
            authority,
            prefix: path.path().trim_end_matches('/').to_owned(),
            headers: [(AUTHORIZATION, authorization)].into_iter().collect(),
        })
    }

    /// Acts in this workspace, in place of the key's own.
    #[must_use]
    pub fn in_workspace(mut self, workspace: &WorkspaceId) -> Self {
        // A workspace's name has characters of a header alone.
        if let Ok(value) = HeaderValue::from_str(workspace.as_str()) {
            self.headers.insert(WORKSPACE, value);
        }
        self
    }

    #[cfg(test)]
    fn with_deadlines(self, deadlines: Deadlines) -> Self {
        Self {
            http: http_client(deadlines),
            deadlines,
            ..self
        }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Request {
            reason: error.to_string(),
        })?;
        self.ask(Method::POST, path, body.into()).await
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let request = self.request(method, path, body);
        let response = self.send_request(request).await?;
        let (parts, bytes) = read(response, self.deadlines.answer).await?;
        if !parts.status.is_success() {
            return Err(refusal(&parts, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            if is_of(&parts.headers, JSON) {
                ClientError::Answer {
                    reason: words(&error.to_string()),
                }
            } else {
                not_ours(&parts)
            }
        })
    }

    /// Server-sent events, after one that the caller has or from now on.
    pub(crate) async fn open_stream(&self, path: &str, after: Option<&str>) -> Result<Records, ClientError> {
        let request = self.request(Method::GET, path, Bytes::new());
        let request = request.and_then(|mut request| {
            request
                .headers_mut()
                .insert(ACCEPT, HeaderValue::from_static(EVENTS));
            if let Some(after) = after {
                request
                    .headers_mut()
                    .insert(LAST_EVENT_ID, HeaderValue::from_str(after)?);
            }
            Ok(request)
        });
        let response = self.send_request(request).await?;
        if !response.status().is_success() {
            let (parts, bytes) = read(response, self.deadlines.answer).await?;
            return Err(refusal(&parts, &bytes));
        }
        let (parts, body) = response.into_parts();
        if !is_of(&parts.headers, EVENTS) {
            return Err(not_ours(&parts));
        }
        Ok(Records::new(body, self.deadlines.silence))
    }

    async fn send_request(
        &self,
        request: Result<Request<Full<Bytes>>, http::Error>,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = request.map_err(|error| ClientError::Request {
            reason: error.to_string(),
        })?;
        Ok(self.http.request(request).await?)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let path: PathAndQuery = format!("{}{path}", self.prefix).parse()?;
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        Ok(request)
    }
}

fn http_client(deadlines: Deadlines) -> outbound::Client {
    outbound::Client::new(ClientConfig {
        response_timeout: Some(deadlines.answer),
        ..ClientConfig::default()
    })
}

#[cfg(test)]
mod tests;
