//! Requests to a registry: redirects, credentials, bounds, and what its refusals mean.
//!
//! A request goes on to another address only where the answer says so, at most five times, and never from https to http.

use crate::limits::Limits;
use crate::npm::NpmConfiguration;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use outbound::{Client, ClientConfig, RequestError};
use std::fmt;
use std::time::Duration;
use url::Url;

const MAX_REDIRECTS: usize = 5;
const AGENT: &str = concat!("hostler/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{url} was not reached: {source}; {}", advice(source))]
    Unreachable { url: Place, source: Box<RequestError> },
    #[error("{url} said nothing for {} s; what came is kept, so try again", after.as_secs_f64())]
    Silent { url: Place, after: Duration },
    #[error("{url} was not here whole within {} s: the registry is too slow; what came is kept, so try again", after.as_secs_f64())]
    TooSlow { url: Place, after: Duration },
    #[error("the answer of {url} broke off: {reason}; what came is kept, so try again")]
    Broken { url: Place, reason: String },
    #[error("{url} wants to know who asks (401): put the token into ~/.npmrc as //HOST/:_authToken=TOKEN")]
    Unauthorized { url: Place },
    #[error(
        "{url} is refused (403): the token of ~/.npmrc may not read it, or a policy of the registry blocks it"
    )]
    Forbidden { url: Place },
    #[error("{url} does not exist (404): this registry does not carry it; look at `npm config get registry`")]
    Missing { url: Place },
    #[error("{url} fails ({status}): the registry is in trouble, so try again later")]
    Failing { url: Place, status: StatusCode },
    #[error("{url} answers {status}, which hostler does not understand: is it an npm registry?")]
    Unexpected { url: Place, status: StatusCode },
    #[error("{url} redirects to where nothing is taken from: {reason}")]
    Redirect { url: Place, reason: String },
    #[error("{url} is larger than {limit} bytes, so it was not taken")]
    TooLarge { url: Place, limit: u64 },
    #[error("{url} is not what an npm registry says of a package: {reason}")]
    Malformed { url: Place, reason: String },
}

fn advice(source: &RequestError) -> &'static str {
    match source {
        RequestError::Tls { .. } | RequestError::Trust(_) => {
            "where the registry has certificates of its own, name their file in SSL_CERT_FILE (npm's cafile is not read)"
        }
        RequestError::Proxy { .. } | RequestError::ProxyRefused { .. } => {
            "the proxy is that of npm (`npm config get https-proxy`), else of HTTPS_PROXY or HTTP_PROXY"
        }
        _ => "is it the registry you mean (`npm config get registry`)?",
    }
}

/// An address as it may be shown: without credentials, and without a query, which may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Box<str>);

impl Place {
    pub(crate) fn of(url: &Url) -> Self {
        let mut shown = url.clone();
        // Neither fails for a URL that has a host.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.set_fragment(None);
        Self(shown.as_str().into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The npm registry of this machine.
pub struct Registry {
    client: Client,
    pub(crate) configuration: NpmConfiguration,
    pub(crate) limits: Limits,
}

impl Registry {
    pub fn new(configuration: NpmConfiguration, limits: Limits) -> Self {
        let client = Client::new(ClientConfig {
            proxies: configuration.proxies.clone(),
            ..ClientConfig::default()
        });
        Self {
            client,
            configuration,
            limits,
        }
    }

    /// The head of an answer that is no redirect, whatever its status, and where it came from.
    pub(crate) async fn ask(
        &self,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<(Url, Response<Incoming>), RegistryError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask_once(&url, headers).await?;
            let location = answer.headers().get(LOCATION).cloned();
            match location.filter(|_| answer.status().is_redirection()) {
                Some(location) => url = redirect(&url, &location)?,
                None => return Ok((url, answer)),
            }
        }
        Err(RegistryError::Redirect {
            url: Place::of(&url),
            reason: format!("more than {MAX_REDIRECTS} in a row"),
        })
    }

    async fn ask_once(&self, url: &Url, headers: &HeaderMap) -> Result<Response<Incoming>, RegistryError> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = url.as_str().parse().map_err(|_| RegistryError::Malformed {
            url: Place::of(url),
            reason: "it is no address of the web".to_owned(),
        })?;
        *request.headers_mut() = headers.clone();
        let head = request.headers_mut();
        head.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        // Sums and ranges are of the bytes as they are stored.
        head.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        head.extend(self.credential(url).map(|credential| (AUTHORIZATION, credential)));
        let after = self.limits.silence;
        tokio::time::timeout(after, self.client.request(request))
            .await
            .map_err(|_| RegistryError::Silent {
                url: Place::of(url),
                after,
            })?
            .map_err(|source| RegistryError::Unreachable {
                url: Place::of(url),
                source: Box::new(source),
            })
    }

    /// What is meant for an encrypted connection is not sent over another.
    fn credential(&self, url: &Url) -> Option<HeaderValue> {
        let is_safe = url.scheme() == "https" || self.configuration.registry.scheme() == "http";
        self.configuration.credentials.of(url).filter(|_| is_safe)
    }

    /// The whole of a body of at most `metadata_bytes`.
    pub(crate) async fn read(&self, url: &Url, headers: &HeaderMap) -> Result<Vec<u8>, RegistryError> {
        let after = self.limits.metadata;
        tokio::time::timeout(after, self.read_all(url, headers))
            .await
            .map_err(|_| RegistryError::TooSlow {
                url: Place::of(url),
                after,
            })?
    }

    async fn read_all(&self, url: &Url, headers: &HeaderMap) -> Result<Vec<u8>, RegistryError> {
        let (url, answer) = self.ask(url, headers).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(&url, answer.status()));
        }
        let limit = self.limits.metadata_bytes;
        let mut body = answer.into_body();
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&url, &mut body).await? {
            if bytes.len() + piece.len() > limit {
                return Err(RegistryError::TooLarge {
                    url: Place::of(&url),
                    limit: limit as u64,
                });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// The next piece of a body, `None` at its end.
    pub(crate) async fn piece(&self, url: &Url, body: &mut Incoming) -> Result<Option<Bytes>, RegistryError> {
        let after = self.limits.silence;
        loop {
            let frame =
                tokio::time::timeout(after, body.frame())
                    .await
                    .map_err(|_| RegistryError::Silent {
                        url: Place::of(url),
                        after,
                    })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(RegistryError::Broken {
                        url: Place::of(url),
                        reason: error.to_string(),
                    });
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn redirect(from: &Url, location: &HeaderValue) -> Result<Url, RegistryError> {
    let refused = |reason: &str| RegistryError::Redirect {
        url: Place::of(from),
        reason: reason.to_owned(),
    };
    let location = location
        .to_str()
        .map_err(|_| refused("its location is no text"))?;
    let mut to = from
        .join(location)
        .map_err(|_| refused("its location is no URL"))?;
    if !matches!(to.scheme(), "http" | "https") {
        return Err(refused("its location is neither http nor https"));
    }
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(refused("from https to http"));
    }
    // What an answer says is no credential of ours.
    let _ = to.set_username("");
    let _ = to.set_password(None);
    Ok(to)
}

pub(crate) fn refusal(url: &Url, status: StatusCode) -> RegistryError {
    let url = Place::of(url);
    match status {
        StatusCode::UNAUTHORIZED => RegistryError::Unauthorized { url },
        StatusCode::FORBIDDEN => RegistryError::Forbidden { url },
        StatusCode::NOT_FOUND | StatusCode::GONE => RegistryError::Missing { url },
        StatusCode::TOO_MANY_REQUESTS => RegistryError::Failing { url, status },
        status if status.is_server_error() => RegistryError::Failing { url, status },
        status => RegistryError::Unexpected { url, status },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npm::Surroundings;
    use std::collections::BTreeMap;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_redirect_leads_to_the_web_and_never_out_of_encryption() {
        for (from, location, expected) in [
            ("http://r.test/a/b", "/c", Ok("http://r.test/c")),
            ("http://r.test/a", "https://s.test/c", Ok("https://s.test/c")),
            ("https://r.test/a", "//name:word@s.test/c", Ok("https://s.test/c")),
            ("https://r.test/a", "http://r.test/a", Err("from https to http")),
            (
                "https://r.test/a",
                "file:///etc/passwd",
                Err("neither http nor https"),
            ),
        ] {
            let found = redirect(&url(from), &HeaderValue::from_static(location));
            match (found, expected) {
                (Ok(found), expected) => assert_eq!(Ok(found.as_str()), expected),
                (Err(error), Err(reason)) => assert!(error.to_string().contains(reason), "{error}"),
                (Err(error), Ok(_)) => panic!("{location}: {error}"),
            }
        }
    }

    #[tokio::test]
    async fn credentials_for_https_are_not_sent_over_http() {
        for (registry, asked, is_sent) in [
            ("https://r.test/", "https://r.test/a", true),
            ("https://r.test/", "http://r.test/a", false),
            ("http://r.test/", "http://r.test/a", true),
        ] {
            let home = tempfile::tempdir().unwrap();
            let npmrc = format!("registry={registry}\n//r.test/:_authToken=word\n");
            std::fs::write(home.path().join(".npmrc"), npmrc).unwrap();
            let surroundings = Surroundings {
                variables: BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]),
                global_files: Vec::new(),
            };
            let configuration = NpmConfiguration::read(&surroundings).await.unwrap();
            let registry = Registry::new(configuration, Limits::default());
            assert_eq!(registry.credential(&url(asked)).is_some(), is_sent, "{asked}");
        }
    }
}
