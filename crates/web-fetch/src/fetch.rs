//! One page: asked for, followed, read, converted, kept for a while.

use crate::body::{Taken, take, unpack};
use crate::cache::Cache;
use crate::page::{Kind, Page, kind, text};
use crate::target::{BadTarget, Redirect, Target};
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION, USER_AGENT,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use outbound::{Client, ClientConfig, Proxies, RequestError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const MAX_REDIRECTS: usize = 10;

/// The most that is told of the body of an error.
const MAX_REFUSAL_CHARACTERS: usize = 2_000;

#[derive(Debug, Clone)]
pub struct Config {
    pub proxies: Proxies,
    pub user_agent: String,
    pub limits: Limits,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of a body as it comes, and again of the same body unpacked.
    pub body_bytes: usize,
    /// Of the text that it comes to.
    pub text_bytes: usize,
    pub connect: Duration,
    /// For one page, redirects and all.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 << 20,
            text_bytes: 2 << 20,
            connect: Duration::from_secs(15),
            time: Duration::from_mins(1),
        }
    }
}

/// What became of a request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    Page(Arc<Page>),
    /// A redirect that leaves the host, the scheme or the port, and was not followed.
    Elsewhere {
        status: u16,
        status_text: String,
        url: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the page did not arrive within {} s", after.as_secs_f64())]
    TimedOut { after: Duration },
    #[error("the server answered {status} {status_text}{}", told(text))]
    Status {
        status: u16,
        status_text: String,
        text: String,
    },
    #[error("it is {media_type} and no text")]
    NotText { media_type: String },
    #[error("the body is packed as {encoding}, which was not asked for")]
    Encoding { encoding: String },
    #[error("the body cannot be unpacked: {reason}")]
    Packed { reason: String },
    #[error("the connection broke in the middle of the page: {reason}")]
    Broken { reason: String },
    #[error("there were more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    #[error("it is redirected to where nothing can be fetched: {0}")]
    Redirect(BadTarget),
}

fn told(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

pub struct Fetcher {
    client: Client,
    config: Config,
    cache: Mutex<Cache>,
}

impl Fetcher {
    pub fn new(config: Config) -> Self {
        let client = Client::new(ClientConfig {
            proxies: config.proxies.clone(),
            connect_timeout: config.limits.connect,
            // Nothing stays open between pages.
            max_idle_per_host: 0,
            ..ClientConfig::default()
        });
        Self {
            client,
            config,
            cache: Mutex::default(),
        }
    }

    pub async fn fetch(&self, target: &Target) -> Result<Fetched, FetchError> {
        if let Some(page) = self.cache().get(target.as_str()) {
            return Ok(Fetched::Page(page));
        }
        let after = self.config.limits.time;
        let fetched = tokio::time::timeout(after, self.follow(target.clone()))
            .await
            .map_err(|_| FetchError::TimedOut { after })??;
        if let Fetched::Page(page) = &fetched {
            self.cache().put(target.as_str(), page);
        }
        Ok(fetched)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self, mut target: Target) -> Result<Fetched, FetchError> {
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(&target).await?;
            let status = answer.status();
            let location = header(answer.headers(), LOCATION.as_str());
            let (true, Some(location)) = (status.is_redirection(), location) else {
                return self.read(&target, answer).await.map(Fetched::Page);
            };
            match target.redirect(location).map_err(FetchError::Redirect)? {
                Redirect::Here(next) => target = next,
                Redirect::Elsewhere { url } => {
                    return Ok(Fetched::Elsewhere {
                        status: status.as_u16(),
                        status_text: status_text(status),
                        url,
                    });
                }
            }
        }
        Err(FetchError::TooManyRedirects)
    }

    async fn ask(&self, target: &Target) -> Result<http::Response<Incoming>, FetchError> {
        let request = http::Request::get(target.as_str())
            .header(
                ACCEPT,
                "text/markdown, text/html;q=0.9, text/plain;q=0.8, */*;q=0.5",
            )
            .header(ACCEPT_ENCODING, "gzip")
            .header(USER_AGENT, &self.config.user_agent)
            .body(Empty::<Bytes>::new())
            .map_err(|error| {
                FetchError::Redirect(BadTarget::NotAUrl {
                    reason: error.to_string(),
                })
            })?;
        Ok(self.client.request(request).await?)
    }

    async fn read(&self, target: &Target, answer: http::Response<Incoming>) -> Result<Arc<Page>, FetchError> {
        let status = answer.status();
        let content_type = header(answer.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        let (media_type, charset) = media_type(content_type);
        let is_packed = match header(answer.headers(), CONTENT_ENCODING.as_str()).unwrap_or_default() {
            "" | "identity" => false,
            "gzip" | "x-gzip" => true,
            other => {
                return Err(FetchError::Encoding {
                    encoding: other.chars().take(50).collect(),
                });
            }
        };
        let not_text = || FetchError::NotText {
            media_type: if media_type.is_empty() {
                "binary data".to_owned()
            } else {
                media_type.clone()
            },
        };
        // What kind of thing an error comes with does not matter to whoever reads about it.
        let kind = match kind(&media_type) {
            Some(kind) => kind,
            None if status.is_success() => return Err(not_text()),
            None => Kind::Unknown,
        };
        let limits = self.config.limits;
        let packed = take(answer.into_body(), limits.body_bytes)
            .await
            .map_err(|error| FetchError::Broken {
                reason: error.to_string(),
            })?;
        let bytes = packed.bytes.len();
        let base = target.url().clone();
        // Unpacking and converting megabytes takes its time: not on the thread that everything else runs on.
        let work = tokio::task::spawn_blocking(move || {
            let body = if is_packed {
                unpack(&packed, limits.body_bytes)?
            } else {
                packed
            };
            let Taken { bytes, is_cut } = body;
            let text = text(&bytes, kind, charset.as_deref(), &base, limits.text_bytes);
            Ok::<_, std::io::Error>(text.map(|(text, is_short)| (text, is_cut || is_short)))
        });
        let packed_error = |reason: String| FetchError::Packed { reason };
        let text = work
            .await
            .map_err(|error| packed_error(error.to_string()))?
            .map_err(|error| packed_error(error.to_string()))?;
        if !status.is_success() {
            let text = text.map(|(text, _)| text).unwrap_or_default();
            return Err(FetchError::Status {
                status: status.as_u16(),
                status_text: status_text(status),
                text: text.trim().chars().take(MAX_REFUSAL_CHARACTERS).collect(),
            });
        }
        let (text, is_cut) = text.ok_or_else(not_text)?;
        Ok(Arc::new(Page {
            url: target.as_str().to_owned(),
            status: status.as_u16(),
            status_text: status_text(status),
            bytes,
            text,
            is_cut,
        }))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn status_text(status: http::StatusCode) -> String {
    status.canonical_reason().unwrap_or_default().to_owned()
}

/// In lower case, and the charset beside it.
fn media_type(content_type: &str) -> (String, Option<String>) {
    let mut parts = content_type.split(';');
    let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_owned())
    });
    (kind.chars().take(100).collect(), charset)
}
