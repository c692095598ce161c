//! The model API behind the gateway: where it is and what it wants to see.
//!
//! What is checked here once (the URL, the key's characters) cannot fail when a call is made.

use crate::Secret;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

const ANTHROPIC: &str = "https://api.anthropic.com";

/// How the upstream knows us.
#[derive(Debug, Clone)]
pub enum Credential {
    /// `x-api-key`.
    ApiKey(Secret),
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// The simulated model, or a server that asks for nothing.
    None,
}

#[derive(Debug, Clone)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    /// What stands before `/v1/…`; empty, or a path without a slash at its end.
    prefix: String,
    credential: Option<(HeaderName, HeaderValue, Secret)>,
}

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("the model's base URL is not a URL")]
    Url(#[from] http::uri::InvalidUri),
    #[error("the model's base URL must start with http:// or https://")]
    Scheme,
    #[error("the model's base URL must not hold a user or a password: use the API key")]
    UserInfo,
    #[error("the model's base URL must not have a query")]
    Query,
    #[error("the model's API key is empty or holds characters that no key has (a line end, a space?)")]
    Key,
}

impl Upstream {
    /// `base_url` is what the official clients take: `https://api.anthropic.com`, with a path where a proxy has one.
    pub fn new(base_url: &str, credential: Credential) -> Result<Self, UpstreamError> {
        let parts = base_url.trim().parse::<Uri>()?.into_parts();
        let scheme = parts.scheme.ok_or(UpstreamError::Scheme)?;
        let authority = parts.authority.ok_or(UpstreamError::Scheme)?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(UpstreamError::Scheme);
        }
        if authority.as_str().contains('@') {
            return Err(UpstreamError::UserInfo);
        }
        let path = parts
            .path_and_query
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(UpstreamError::Query);
        }
        let prefix = path.path().trim_end_matches('/').to_owned();
        Ok(Self {
            scheme,
            authority,
            prefix,
            credential: header_of(credential)?,
        })
    }

    /// Anthropic's own API.
    pub fn anthropic(credential: Credential) -> Result<Self, UpstreamError> {
        Self::new(ANTHROPIC, credential)
    }

    /// For people.
    pub fn host(&self) -> &str {
        self.authority.as_str()
    }

    /// The upstream's URL for a path of the API, query included.
    pub(crate) fn uri(&self, path: &PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.prefix))
            .build()
    }

    /// Puts the real key on, in place of whatever was there.
    pub(crate) fn authorize(&self, headers: &mut HeaderMap) {
        for name in [http::header::AUTHORIZATION, HeaderName::from_static("x-api-key")] {
            headers.remove(name);
        }
        if let Some((name, value, _)) = &self.credential {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// What must never be seen in a sandbox.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        self.credential.as_ref().map(|(_, _, secret)| secret)
    }
}

fn header_of(credential: Credential) -> Result<Option<(HeaderName, HeaderValue, Secret)>, UpstreamError> {
    let (name, text, secret) = match credential {
        Credential::None => return Ok(None),
        Credential::ApiKey(key) => (HeaderName::from_static("x-api-key"), key.expose().to_owned(), key),
        Credential::Bearer(token) => (
            http::header::AUTHORIZATION,
            format!("Bearer {}", token.expose()),
            token,
        ),
    };
    if secret.expose().is_empty() || !secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UpstreamError::Key);
    }
    let mut value = HeaderValue::from_str(&text).map_err(|_| UpstreamError::Key)?;
    value.set_sensitive(true);
    Ok(Some((name, value, secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str, path: &'static str) -> String {
        let upstream = Upstream::new(base, Credential::None).unwrap();
        upstream
            .uri(&PathAndQuery::from_static(path))
            .unwrap()
            .to_string()
    }

    #[test]
    fn paths_are_put_behind_the_base() {
        assert_eq!(
            url("http://127.0.0.1:9", "/v1/messages?beta=true"),
            "http://127.0.0.1:9/v1/messages?beta=true"
        );
        assert_eq!(
            url("https://proxy.example/anthropic/", "/v1/models"),
            "https://proxy.example/anthropic/v1/models"
        );
    }

    #[test]
    fn bases_and_keys_that_cannot_work_are_refused() {
        for base in [
            "",
            "api.anthropic.com",
            "ftp://x",
            "http://u:p@x",
            "http://x/?key=1",
            "/v1",
        ] {
            assert!(Upstream::new(base, Credential::None).is_err(), "{base}");
        }
        for key in ["", "a b", "key\n", "k\u{e9}y"] {
            let credential = Credential::ApiKey(Secret::new(key));
            assert!(
                matches!(Upstream::anthropic(credential), Err(UpstreamError::Key)),
                "{key:?}"
            );
        }
    }

    #[test]
    fn the_key_takes_the_place_of_every_other_credential_and_is_not_printed() {
        let upstream = Upstream::anthropic(Credential::Bearer(Secret::new("real-token"))).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("session"));
        headers.insert("authorization", HeaderValue::from_static("Bearer session"));
        upstream.authorize(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["authorization"], "Bearer real-token");
        assert!(!format!("{upstream:?} {headers:?}").contains("real-token"));
    }
}
