//! Requests and their answers, one at a time. An answer that takes too long, or is too long, is an error.

use crate::{ClientError, UrlError};
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that answers one request with this; what it was asked, and what the client made of the answer.
    async fn asked(answer: String) -> (String, Result<Value, ClientError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"{\"a\":1}") {
                assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        };
        let client = Client::new(&url, "hk_x").unwrap();
        let body = json!({"a": 1});
        tokio::join!(serving, client.post("/v1/x", &body))
    }

    fn answer(status: &str, length: usize, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn a_request_has_the_key_and_the_prefix_and_a_good_answer_is_read() {
        let (asked, read) = asked(answer("200 OK", 8, "{\"b\": 2}")).await;
        assert!(asked.starts_with("POST /prefix/v1/x HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: Bearer hk_x\r\n"), "{asked}");
        assert_eq!(read.unwrap(), json!({"b": 2}));
    }

    #[tokio::test]
    async fn what_is_not_good_is_told_apart() {
        let error = "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"no\"},\"request_id\":\"r\"}";
        let (_, refused) = asked(answer("404 Not Found", error.len(), error)).await;
        let Err(ClientError::Refused {
            status,
            message,
            request_id,
        }) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(
            (status, message.as_str(), request_id.as_deref()),
            (404, "no", Some("r"))
        );
        let (_, html) = asked(answer("502 Bad Gateway", 6, "<html>")).await;
        assert!(
            matches!(html, Err(ClientError::NotOurs { status: 502 })),
            "{html:?}"
        );
        let (_, cut) = asked(answer("200 OK", 100, "{")).await;
        assert!(matches!(cut, Err(ClientError::Cut)), "{cut:?}");
        let (_, other) = asked(answer("200 OK", 2, "x]")).await;
        assert!(matches!(other, Err(ClientError::Answer { .. })), "{other:?}");
        let (_, none) = asked(String::new()).await;
        assert!(matches!(none, Err(ClientError::Unreachable(_))), "{none:?}");
    }

    #[test]
    fn urls_and_keys_are_checked_before_anything_is_sent() {
        for url in ["", "127.0.0.1", "/x", "http://"] {
            assert!(
                matches!(Client::new(url, "k"), Err(UrlError::Url { .. })),
                "{url}"
            );
        }
        assert!(matches!(Client::new("http://x", "a\nb"), Err(UrlError::Key)));
    }
}
