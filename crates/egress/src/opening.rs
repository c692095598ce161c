//! The first bytes of a connection: a TLS `ClientHello` with its server name, or something else. Bytes are kept for
//! replay; a `ClientHello` is bounded in size and its parser is rustls'.

use policy::HostName;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a client began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opening {
    ClientHello {
        server_name: Option<String>,
    },
    /// Something that is not TLS.
    Other,
    /// It began like TLS and is not, or does not end.
    Broken,
    /// Nothing came.
    Closed,
}

/// Why a `ClientHello` is not accepted, and the alert that says so (RFC 8446, 6.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpeningError {
    #[error("the ClientHello names {found:?}")]
    OtherName { found: String },
    #[error("the ClientHello names no host")]
    NoName,
    #[error("the ClientHello is malformed or too long")]
    Broken,
    #[error("this is not TLS")]
    NotTls,
}

pub(crate) const ACCESS_DENIED: u8 = 49;
const UNEXPECTED_MESSAGE: u8 = 10;
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;
const HANDSHAKE_RECORD: u8 = 0x16;
const LONGEST_SHOWN_NAME: usize = 100;

impl OpeningError {
    pub(crate) fn alert(&self) -> u8 {
        match self {
            Self::OtherName { .. } | Self::NoName => UNRECOGNIZED_NAME,
            Self::Broken => DECODE_ERROR,
            Self::NotTls => UNEXPECTED_MESSAGE,
        }
    }
}

impl Opening {
    /// TLS must name the host that was connected to. Anything else is the caller's to judge.
    pub(crate) fn check_name(&self, host: &HostName) -> Result<(), OpeningError> {
        match self {
            Self::ClientHello { server_name: None } => Err(OpeningError::NoName),
            Self::ClientHello {
                server_name: Some(found),
            } => match found.parse::<HostName>() {
                Ok(named) if named == *host => Ok(()),
                _ => Err(OpeningError::OtherName {
                    found: found.chars().take(LONGEST_SHOWN_NAME).collect(),
                }),
            },
            Self::Broken => Err(OpeningError::Broken),
            Self::Other | Self::Closed => Ok(()),
        }
    }
}

/// Reads until it is clear what the client speaks. `seen` may hold bytes already and has all of them afterwards.
pub(crate) async fn read_opening(
    stream: &mut (impl AsyncRead + Unpin),
    seen: &mut Vec<u8>,
    limit: usize,
) -> std::io::Result<Opening> {
    let mut acceptor = Acceptor::default();
    let mut parsed = 0;
    loop {
        if let Some(opening) = examine(&mut acceptor, seen, &mut parsed) {
            return Ok(opening);
        }
        if seen.len() >= limit {
            return Ok(Opening::Broken);
        }
        let room = (limit - seen.len()) as u64;
        if (&mut *stream).take(room).read_buf(seen).await? == 0 {
            return Ok(if seen.is_empty() {
                Opening::Closed
            } else {
                Opening::Broken
            });
        }
    }
}

/// Nothing while more bytes are needed.
fn examine(acceptor: &mut Acceptor, seen: &[u8], parsed: &mut usize) -> Option<Opening> {
    match seen {
        [] | [HANDSHAKE_RECORD] => return None,
        [HANDSHAKE_RECORD, 3, ..] => {}
        _ => return Some(Opening::Other),
    }
    while *parsed < seen.len() {
        match acceptor.read_tls(&mut &seen[*parsed..]) {
            Ok(read) if read > 0 => *parsed += read,
            _ => return Some(Opening::Broken),
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let server_name = accepted.client_hello().server_name().map(str::to_owned);
                return Some(Opening::ClientHello { server_name });
            }
            Err(_) => return Some(Opening::Broken),
        }
    }
    None
}

/// A fatal alert in the clear, as before any keys. The client may be gone: then nobody needs it.
pub(crate) async fn send_alert(stream: &mut (impl AsyncWrite + Unpin), alert: u8) {
    const FATAL: u8 = 2;
    let record = [0x15, 3, 3, 0, 2, FATAL, alert];
    if let Err(error) = stream.write_all(&record).await {
        tracing::debug!(%error, "no alert was sent");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn client_hello(name: &str) -> Vec<u8> {
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    async fn opening_of(mut bytes: &[u8]) -> Opening {
        let mut seen = Vec::new();
        let opening = read_opening(&mut bytes, &mut seen, 4096).await.unwrap();
        assert!(seen.len() <= 4096);
        opening
    }

    #[tokio::test]
    async fn a_client_hello_is_read_with_its_name_and_kept() {
        let hello = client_hello("api.example.com");
        let mut seen = Vec::new();
        let opening = read_opening(&mut &hello[..], &mut seen, 4096).await.unwrap();
        assert_eq!(
            opening,
            Opening::ClientHello {
                server_name: Some("api.example.com".to_owned())
            }
        );
        assert_eq!(seen, hello);
        assert_eq!(opening.check_name(&"API.example.com.".parse().unwrap()), Ok(()));
        let error = opening.check_name(&"evil.example".parse().unwrap()).unwrap_err();
        assert_eq!(
            error,
            OpeningError::OtherName {
                found: "api.example.com".to_owned()
            }
        );
    }

    #[tokio::test]
    async fn a_client_hello_in_single_bytes_and_many_records_is_the_same() {
        let hello = client_hello("api.example.com");
        let fragments: Vec<u8> = hello[5..]
            .chunks(20)
            .flat_map(|part| [&[0x16, 3, 1, 0, part.len() as u8], part].concat())
            .collect();
        let (mut writer, mut reader) = tokio::io::duplex(1);
        let write = async { writer.write_all(&fragments).await.unwrap() };
        let mut seen = Vec::new();
        let (opening, ()) = tokio::join!(read_opening(&mut reader, &mut seen, 4096), write);
        assert_eq!(
            opening.unwrap(),
            Opening::ClientHello {
                server_name: Some("api.example.com".to_owned())
            }
        );
    }

    #[tokio::test]
    async fn a_client_hello_for_an_address_names_nothing() {
        let opening = opening_of(&client_hello("127.0.0.1")).await;
        assert_eq!(opening, Opening::ClientHello { server_name: None });
        assert_eq!(
            opening.check_name(&"a.example".parse().unwrap()),
            Err(OpeningError::NoName)
        );
    }

    #[tokio::test]
    async fn what_is_not_a_whole_client_hello_is_told_apart() {
        let hello = client_hello("api.example.com");
        let endless = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &[0; 9000]].concat();
        let table: [(&[u8], Opening); 8] = [
            (b"", Opening::Closed),
            (b"GET / HTTP/1.1\r\n", Opening::Other),
            (b"SSH-2.0-x\r\n", Opening::Other),
            (b"\x16\x01", Opening::Other),
            (b"\x16", Opening::Broken),
            (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", Opening::Broken),
            (&hello[..hello.len() - 1], Opening::Broken),
            (&endless, Opening::Broken),
        ];
        for (bytes, expected) in table {
            assert_eq!(
                opening_of(bytes).await,
                expected,
                "{:?}",
                &bytes[..bytes.len().min(10)]
            );
        }
    }
}
