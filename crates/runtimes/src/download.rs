//! An archive as a file: asked for, continued where an earlier attempt ended, bounded, and checked as a whole.
//!
//! ```text
//! PART.part   the bytes that came so far
//! PART.json   of which archive (its sum), and by what the server knows it again (its ETag or date)
//! ```
//!
//! Whatever a server says of ranges, a file is only handed on if the sum over all of it is the one that was announced.

use crate::file::{FileError, blocking, remove};
use crate::progress::{Progress, Step};
use crate::registry::{Place, Registry, RegistryError, refusal};
use crate::release::{Release, integrity};
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt as _;
use url::Url;

const WRITE_BYTES: usize = 1 << 20;
/// How often a connection that brought something may break before that is an error.
const MAX_CONNECTIONS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "what {url} sent is not what was announced: expected {expected}, got {actual}; it was thrown away, so try again, \
         and if it happens twice, something between here and the registry changes files"
    )]
    Checksum {
        url: Place,
        expected: String,
        actual: String,
    },
}

#[derive(Serialize, Deserialize, Default)]
struct Known {
    integrity: String,
    /// For `If-Range`.
    validator: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Part {
    file: PathBuf,
    known: PathBuf,
}

/// How one connection ended.
enum Ended {
    Whole,
    /// With this many bytes more than before.
    Short {
        brought: u64,
        why: RegistryError,
    },
    /// The server cannot continue; nothing is kept.
    StartOver,
}

/// What a file is about to get.
struct Beginning {
    at: u64,
    total: Option<u64>,
}

impl Part {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        Self {
            file: directory.join(format!("{name}.part")),
            known: directory.join(format!("{name}.json")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    pub(crate) fn is(&self, path: &Path) -> bool {
        path == self.file || path == self.known
    }

    pub(crate) async fn remove(&self) -> Result<(), FileError> {
        let part = self.clone();
        blocking(move || remove(&part.known).and_then(|()| remove(&part.file))).await?
    }

    /// What is here of this archive, and what the server called it.
    async fn here(&self, integrity: &str) -> Result<(u64, Option<HeaderValue>), FileError> {
        let (part, integrity) = (self.clone(), integrity.to_owned());
        blocking(move || part.look(&integrity)).await
    }

    fn look(&self, integrity: &str) -> (u64, Option<HeaderValue>) {
        let text = std::fs::read(&self.known).unwrap_or_default();
        let known: Known = serde_json::from_slice(&text).unwrap_or_default();
        if known.integrity != integrity {
            return (0, None);
        }
        let length = std::fs::metadata(&self.file).map_or(0, |metadata| metadata.len());
        let validator = known.validator.and_then(|text| HeaderValue::from_str(&text).ok());
        (length, validator)
    }

    async fn begin(&self, integrity: String, head: &HeaderMap) -> Result<(), FileError> {
        // A weak tag does not say that the bytes are the same.
        let strong = head.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
        let validator = strong.or_else(|| head.get(LAST_MODIFIED));
        let known = Known {
            integrity,
            validator: validator.and_then(|value| value.to_str().ok()).map(str::to_owned),
        };
        let text = serde_json::to_vec(&known).unwrap_or_default();
        let part = self.clone();
        let begun = blocking(move || {
            remove(&part.file)?;
            std::fs::write(&part.known, text).map_err(FileError::writing(&part.known))
        });
        begun.await?
    }
}

impl Registry {
    /// Brings the whole archive into `part` and checks it.
    pub(crate) async fn download(
        &self,
        release: &Release,
        part: &Part,
        progress: &dyn Progress,
    ) -> Result<(), DownloadError> {
        let after = self.limits.archive;
        let mut last = RegistryError::Malformed {
            url: self.place(),
            reason: "the archive has no address".to_owned(),
        };
        for url in &release.archives {
            let ended = tokio::time::timeout(after, self.download_from(url, release, part, progress)).await;
            match ended {
                Err(_) => {
                    return Err(RegistryError::TooSlow {
                        url: Place::of(url),
                        after,
                    }
                    .into());
                }
                Ok(Err(DownloadError::Registry(error @ RegistryError::Missing { .. }))) => last = error,
                Ok(ended) => return ended,
            }
        }
        Err(last.into())
    }

    async fn download_from(
        &self,
        url: &Url,
        release: &Release,
        part: &Part,
        progress: &dyn Progress,
    ) -> Result<(), DownloadError> {
        let expected = integrity(&release.sha512);
        let mut connections = 0;
        loop {
            connections += 1;
            match self.connect_once(url, &expected, part, progress).await? {
                Ended::Whole => break,
                Ended::StartOver if connections < MAX_CONNECTIONS => part.remove().await?,
                Ended::StartOver => {
                    return Err(refusal(url, StatusCode::RANGE_NOT_SATISFIABLE).into());
                }
                // Silence has already cost its deadline: whoever called decides whether to wait again.
                Ended::Short { brought, why } => {
                    let broke = matches!(why, RegistryError::Broken { .. });
                    if !broke || brought == 0 || connections == MAX_CONNECTIONS {
                        return Err(why.into());
                    }
                }
            }
        }
        progress.at(Step::Checking);
        let file = part.path().to_owned();
        let actual = blocking(move || sum(&file)).await??;
        if actual == expected {
            return Ok(());
        }
        part.remove().await?;
        Err(DownloadError::Checksum {
            url: Place::of(url),
            expected,
            actual,
        })
    }

    async fn connect_once(
        &self,
        url: &Url,
        integrity: &str,
        part: &Part,
        progress: &dyn Progress,
    ) -> Result<Ended, DownloadError> {
        let (here, validator) = part.here(integrity).await?;
        let mut headers = HeaderMap::new();
        if here > 0 {
            let range = HeaderValue::from_str(&format!("bytes={here}-"));
            headers.extend(range.ok().map(|range| (RANGE, range)));
            headers.extend(validator.map(|validator| (IF_RANGE, validator)));
        }
        let (url, answer) = self.ask(url, &headers).await?;
        let beginning = match answer.status() {
            StatusCode::OK => {
                part.begin(integrity.to_owned(), answer.headers()).await?;
                Beginning {
                    at: 0,
                    total: length(&answer),
                }
            }
            StatusCode::PARTIAL_CONTENT if here > 0 => match continued(&answer) {
                Some(beginning) if beginning.at == here => beginning,
                _ => return Ok(Ended::StartOver),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if here > 0 => {
                // There is nothing after what is here: the sum will tell whether it is all.
                let whole = range_of(&answer).and_then(|range| range.strip_prefix("*/")?.parse().ok());
                return Ok(if whole == Some(here) {
                    Ended::Whole
                } else {
                    Ended::StartOver
                });
            }
            status => return Err(refusal(&url, status).into()),
        };
        self.append(&url, answer, beginning, part, progress).await
    }

    async fn append(
        &self,
        url: &Url,
        answer: Response<Incoming>,
        Beginning { at, total }: Beginning,
        part: &Part,
        progress: &dyn Progress,
    ) -> Result<Ended, DownloadError> {
        let limit = self.limits.archive_bytes;
        let too_large = || RegistryError::TooLarge {
            url: Place::of(url),
            limit,
        };
        if total.is_some_and(|total| total > limit) {
            part.remove().await?;
            return Err(too_large().into());
        }
        let failed = || FileError::writing(part.path());
        let file = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(part.path())
            .await
            .map_err(failed())?;
        let mut file = tokio::io::BufWriter::with_capacity(WRITE_BYTES, file);
        let mut body = answer.into_body();
        let mut done = at;
        let ended = loop {
            progress.at(Step::Downloading { done, total });
            match self.piece(url, &mut body).await {
                Ok(Some(piece)) => {
                    done += piece.len() as u64;
                    if done > limit.min(total.unwrap_or(limit)) {
                        break Err(too_large());
                    }
                    file.write_all(&piece).await.map_err(failed())?;
                }
                Ok(None) if total.is_some_and(|total| done < total) => {
                    let reason = format!("after {done} bytes of {}", total.unwrap_or_default());
                    break Ok(Ended::Short {
                        brought: done - at,
                        why: RegistryError::Broken {
                            url: Place::of(url),
                            reason,
                        },
                    });
                }
                Ok(None) => break Ok(Ended::Whole),
                Err(why) => {
                    break Ok(Ended::Short {
                        brought: done - at,
                        why,
                    });
                }
            }
        };
        file.flush().await.map_err(failed())?;
        if ended.is_err() {
            part.remove().await?;
        }
        ended.map_err(DownloadError::from)
    }
}

fn length(answer: &Response<Incoming>) -> Option<u64> {
    answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn range_of(answer: &Response<Incoming>) -> Option<&str> {
    let range = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    Some(range.trim().strip_prefix("bytes")?.trim_start())
}

/// `Content-Range: bytes FIRST-LAST/TOTAL`, where the total may be `*`.
fn continued(answer: &Response<Incoming>) -> Option<Beginning> {
    let (range, total) = range_of(answer)?.split_once('/')?;
    let at = range.split_once('-')?.0.trim().parse().ok()?;
    Some(Beginning {
        at,
        total: total.trim().parse().ok(),
    })
}

pub(crate) fn sum(path: &Path) -> Result<String, FileError> {
    let mut file = std::fs::File::open(path).map_err(FileError::reading(path))?;
    let mut hash = Sha512::new();
    let mut buffer = vec![0; WRITE_BYTES];
    loop {
        let count = file.read(&mut buffer).map_err(FileError::reading(path))?;
        if count == 0 {
            return Ok(integrity(&hash.finalize()));
        }
        hash.update(&buffer[..count]);
    }
}
