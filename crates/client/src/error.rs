//! Why a server could not be asked, or what it refused.

use outbound::RequestError;

/// How the server is called cannot be right.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("{url:?} is not the URL of a server: use one like http://127.0.0.1:8700")]
    Url { url: String },
    #[error("the API key holds characters that no key has (a line end?)")]
    Key,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the request cannot be made: {reason}")]
    Request { reason: String },
    #[error("the server cannot be reached")]
    Unreachable(#[from] RequestError),
    #[error("{message}")]
    Refused {
        status: u16,
        message: String,
        request_id: Option<String>,
    },
    #[error("what answers there is no hostler: HTTP status {status} and no error of its API")]
    NotOurs { status: u16 },
    #[error("the server's answer cannot be read: {reason}")]
    Answer { reason: String },
    #[error("the server cut its answer")]
    Cut,
}
