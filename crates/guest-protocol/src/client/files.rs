//! Files of the sandbox, through the guest, by the agent's own rights. A path is bytes: it need not be UTF-8.

use super::{Call, Client, ClientError, ESCAPED, nothing};
use crate::FileEntry;
use bytes::Bytes;
use http::Method;
use percent_encoding::percent_encode;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// What a file's transfer may take besides its size.
const BASE: Duration = Duration::from_secs(30);

/// The slowest transfer that is waited for.
const BYTES_PER_SECOND: u64 = 1 << 20;

/// 100,000 entries with names of 255 bytes, escaped.
const MAX_LIST_BYTES: usize = 64 << 20;

impl Client {
    /// At most `limit` bytes from `offset`; fewer only at the end of the file.
    pub async fn read_file(
        &self,
        path: impl AsRef<[u8]>,
        offset: u64,
        limit: u64,
    ) -> Result<Bytes, ClientError> {
        let rest = format!("&offset={offset}&limit={limit}");
        let call = Call {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            ..of_file("read_file", Method::GET, "files", path.as_ref(), (&rest, limit))
        };
        self.exchange(&call, Bytes::new()).await
    }

    /// Copies a whole file of at most `max` bytes and says how long it was. On an error `into` holds a part of it.
    pub async fn download(
        &self,
        path: impl AsRef<[u8]>,
        into: &mut (impl AsyncWrite + Unpin),
        max: u64,
    ) -> Result<u64, ClientError> {
        let call = of_file("download", Method::GET, "files", path.as_ref(), ("", max));
        call.within(async {
            let mut answer = self.send(&call, Bytes::new()).await?;
            let mut length = 0;
            let late = || ClientError::Deadline {
                call: call.name,
                after: BASE,
            };
            while let Some(piece) = timeout(BASE, answer.next()).await.map_err(|_| late())?? {
                length += piece.len() as u64;
                if length > max {
                    return Err(ClientError::TooLarge {
                        call: call.name,
                        limit: max,
                    });
                }
                into.write_all(&piece)
                    .await
                    .map_err(|source| ClientError::Write {
                        call: call.name,
                        source,
                    })?;
            }
            into.flush().await.map_err(|source| ClientError::Write {
                call: call.name,
                source,
            })?;
            Ok(length)
        })
        .await
    }

    /// Puts a whole file in place at once: readers see the old one or the new one.
    pub async fn write_file(
        &self,
        path: impl AsRef<[u8]>,
        mode: u32,
        data: Bytes,
    ) -> Result<(), ClientError> {
        let rest = format!("&mode={mode:04o}");
        let call = of_file(
            "write_file",
            Method::PUT,
            "files",
            path.as_ref(),
            (&rest, data.len() as u64),
        );
        self.value(&call, data).await.map(nothing)
    }

    /// Removes a file or an empty directory.
    pub async fn delete_file(&self, path: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let call = of_file("delete_file", Method::DELETE, "files", path.as_ref(), ("", 0));
        self.value(&call, Bytes::new()).await.map(nothing)
    }

    /// The entries of a directory, by name.
    pub async fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<FileEntry>, ClientError> {
        let call = Call {
            limit: MAX_LIST_BYTES,
            ..of_file(
                "list",
                Method::GET,
                "files/list",
                path.as_ref(),
                ("", MAX_LIST_BYTES as u64),
            )
        };
        self.value(&call, Bytes::new()).await
    }
}

/// A call about a path, with the rest of its query and the bytes that it may move.
fn of_file(
    name: &'static str,
    method: Method,
    endpoint: &str,
    path: &[u8],
    (rest, bytes): (&str, u64),
) -> Call {
    let path = percent_encode(path, ESCAPED);
    let target = format!("/v1/{endpoint}?path={path}{rest}");
    let deadline = BASE + Duration::from_secs(bytes / BYTES_PER_SECOND);
    Call {
        deadline,
        ..Call::new(name, method, target)
    }
}
