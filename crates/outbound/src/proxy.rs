//! Proxies as programs are told of them: which one a URL goes through, and the tunnel to what is behind it.
//!
//! `https` goes through a tunnel (`CONNECT`), so that the proxy sees names and no content; `http` is handed to the
//! proxy whole. A proxy that refuses says why, and that is kept.

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::IpAddr;
use tokio::net::TcpStream;

/// The most that is read of a refusal.
const MAX_REASON_BYTES: usize = 4 << 10;
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What the variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Uri>,
    https: Option<Uri>,
    direct: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the proxy {given:?} cannot be used: {reason}")]
pub struct BadProxy {
    given: String,
    reason: &'static str,
}

/// Why there is no tunnel. The reason is the proxy's own, in one bounded line or more of plain text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TunnelError {
    #[error("refused")]
    Refused { status: u16, reason: String },
    #[error("{reason}")]
    Broken { reason: String },
}

impl Proxies {
    /// Empty texts name no proxy. `direct` lists names that no proxy is asked for, each with all below it, or `*`.
    pub fn new(http: &str, https: &str, direct: &str) -> Result<Self, BadProxy> {
        let direct = direct
            .split(',')
            .map(|name| name.trim().trim_start_matches('.').to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        Ok(Self {
            http: parse(http)?,
            https: parse(https)?,
            direct,
        })
    }

    /// The proxy that a URL goes through.
    pub(crate) fn of(&self, url: &Uri) -> Option<&Uri> {
        let proxy = match url.scheme_str() {
            Some("http") => self.http.as_ref(),
            Some("https") => self.https.as_ref(),
            _ => None,
        }?;
        (!self.is_direct(url)).then_some(proxy)
    }

    fn is_direct(&self, url: &Uri) -> bool {
        let host = url.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = bare.trim_end_matches('.').to_ascii_lowercase();
        let is_address = host.parse::<IpAddr>().is_ok();
        self.direct.iter().any(|name| {
            let is_below = || {
                !is_address
                    && host
                        .strip_suffix(name.as_str())
                        .is_some_and(|above| above.ends_with('.'))
            };
            name == "*" || *name == host || is_below()
        })
    }
}

fn parse(given: &str) -> Result<Option<Uri>, BadProxy> {
    let given = given.trim();
    if given.is_empty() {
        return Ok(None);
    }
    let bad = |reason| BadProxy {
        // A password in it is not shown.
        given: given.rsplit('@').next().unwrap_or_default().to_owned(),
        reason,
    };
    let with_scheme = if given.contains("://") {
        given.to_owned()
    } else {
        format!("http://{given}")
    };
    let url: Uri = with_scheme.parse().map_err(|_| bad("it is not a URL"))?;
    if url.scheme_str() != Some("http") {
        return Err(bad("only http:// proxies can be spoken to"));
    }
    let authority = url.authority().ok_or_else(|| bad("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("credentials for a proxy are not supported"));
    }
    Ok(Some(url))
}

/// Asks the proxy at the other end for a way to `authority`; the stream then leads there.
pub(crate) async fn tunnel(
    proxy: TokioIo<TcpStream>,
    authority: &str,
) -> Result<TokioIo<TcpStream>, TunnelError> {
    let broken = |error: hyper::Error| TunnelError::Broken {
        reason: error.to_string(),
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake::<_, Empty<Bytes>>(proxy)
        .await
        .map_err(broken)?;
    let request = Request::connect(authority)
        .header(http::header::HOST, authority)
        .body(Empty::new())
        .map_err(|error| TunnelError::Broken {
            reason: error.to_string(),
        })?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        hyper::upgrade::on(answer).await.map_err(broken)
    };
    // The connection does its work only while it is polled; it may end before the exchange has seen all of it.
    let mut exchange = std::pin::pin!(exchange);
    let mut connection = std::pin::pin!(connection.with_upgrades());
    let upgraded = tokio::select! {
        biased;
        upgraded = &mut exchange => upgraded,
        _ = &mut connection => exchange.await,
    }?;
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| TunnelError::Broken {
            reason: "the connection was lost".to_owned(),
        })?;
    if parts.read_buf.is_empty() {
        Ok(parts.io)
    } else {
        Err(TunnelError::Broken {
            reason: "it sent bytes before it was asked for any".to_owned(),
        })
    }
}

async fn refusal(answer: Response<Incoming>) -> TunnelError {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_REASON_BYTES).collect().await;
    let text = body.map_or_else(|_| String::new(), |body| plain(&body.to_bytes()));
    TunnelError::Refused {
        status: status.as_u16(),
        reason: if text.is_empty() {
            status.canonical_reason().unwrap_or("no reason given").to_owned()
        } else {
            text
        },
    }
}

/// Text without control characters but line ends.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let kept: String = text
        .chars()
        .filter(|character| *character == '\n' || !character.is_control())
        .collect();
    kept.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_goes_through_its_scheme_s_proxy_unless_its_host_is_listed() {
        let proxies = Proxies::new(
            "127.0.0.3:3128",
            "http://127.0.0.3:3129/",
            "localhost, 127.0.0.1,.internal,10.0.0.1",
        )
        .unwrap();
        for (url, port) in [
            ("http://example.com/", Some(3128)),
            ("https://example.com/", Some(3129)),
            ("https://localhost/", None),
            ("https://LOCALHOST./", None),
            ("https://a.localhost/", None),
            ("https://notlocalhost/", Some(3129)),
            ("http://127.0.0.1:8080/", None),
            ("http://4.127.0.0.1.example/", Some(3128)),
            ("https://db.internal/", None),
            ("https://internal/", None),
            ("http://110.0.0.1/", Some(3128)),
            ("http://[::1]/", Some(3128)),
        ] {
            let found = proxies.of(&url.parse().unwrap());
            assert_eq!(found.and_then(Uri::port_u16), port, "{url}");
        }
        let none = Proxies::new("p:1", "", "*").unwrap();
        assert!(none.of(&"http://a/".parse().unwrap()).is_none());
        assert!(none.of(&"https://a/".parse().unwrap()).is_none());
    }

    #[test]
    fn proxies_that_cannot_be_spoken_to_are_named_without_their_password() {
        for (given, reason) in [
            ("socks5://p:1080", "only http://"),
            ("https://p", "only http://"),
            ("http://user:secret@p:1", "credentials"),
            ("http://", "not a URL"),
            ("a b", "not a URL"),
        ] {
            let error = Proxies::new("", given, "").unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
        }
    }
}
