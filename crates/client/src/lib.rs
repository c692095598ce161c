//! A client of the HTTP API, for the command line: requests as JSON, answers as `wire` types, errors as the API tells
//! them. What a server sends is bounded.

mod error;

pub use error::{ClientError, UrlError};

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use outbound::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use wire::ErrorBody;

/// Of an answer.
const MAX_BYTES: usize = 64 << 20;
const DEADLINE: Duration = Duration::from_mins(1);

/// Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: outbound::Client,
    scheme: Scheme,
    authority: Authority,
    /// Before the API's own paths; empty, or without a slash at its end.
    prefix: String,
    authorization: HeaderValue,
}

impl Client {
    /// `url` is what an official client takes as its base URL.
    pub fn new(url: &str, key: &str) -> Result<Self, UrlError> {
        let wrong = || UrlError::Url {
            url: url.chars().take(200).collect(),
        };
        let parts = url.trim().parse::<Uri>().map_err(|_| wrong())?.into_parts();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| UrlError::Key)?;
        authorization.set_sensitive(true);
        let path = parts
            .path_and_query
            .map_or(String::new(), |path| path.path().to_owned());
        Ok(Self {
            http: outbound::Client::new(ClientConfig {
                response_timeout: Some(DEADLINE),
                ..ClientConfig::default()
            }),
            scheme: parts.scheme.ok_or_else(wrong)?,
            authority: parts.authority.ok_or_else(wrong)?,
            prefix: path.trim_end_matches('/').to_owned(),
            authorization,
        })
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
        let request = request.map_err(|error| ClientError::Request {
            reason: error.to_string(),
        })?;
        let response = self.http.request(request).await?;
        let (status, bytes) = read(response).await?;
        if !status.is_success() {
            return Err(match serde_json::from_slice::<ErrorBody>(&bytes) {
                Ok(body) => ClientError::Refused {
                    status: status.as_u16(),
                    message: body.error.message,
                    request_id: body.request_id,
                },
                Err(_) => ClientError::NotOurs {
                    status: status.as_u16(),
                },
            });
        }
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Answer {
            reason: error.to_string(),
        })
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let path: PathAndQuery = format!("{}{path}", self.prefix).parse()?;
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()?;
        Request::builder()
            .method(method)
            .uri(uri)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
    }
}

async fn read<B>(response: Response<B>) -> Result<(http::StatusCode, Bytes), ClientError>
where
    B: BodyExt<Data = Bytes> + Unpin,
{
    let (parts, mut body) = response.into_parts();
    let mut whole = BytesMut::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ClientError::Cut)?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > MAX_BYTES {
                return Err(ClientError::Answer {
                    reason: format!("it has more than {MAX_BYTES} bytes"),
                });
            }
            whole.extend_from_slice(&data);
        }
        Ok(())
    };
    match tokio::time::timeout(DEADLINE, reading).await {
        Ok(read) => read?,
        Err(_) => return Err(ClientError::Cut),
    }
    Ok((parts.status, whole.freeze()))
}
