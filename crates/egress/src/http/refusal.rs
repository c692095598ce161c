//! What a client is told when it gets no answer from where it wanted: one line that says why and one that says what
//! would help, in the body and, for clients that show nothing else of a failed `CONNECT`, in the reason phrase.

use super::{Body, StatusCode};
use crate::dial::{DialError, describe};
use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_TYPE, HeaderValue};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    hint: Option<String>,
    phrase: Option<String>,
}

impl Refusal {
    /// The request is not one that can be decided.
    pub(super) fn bad_request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            hint: Some(hint.into()),
            phrase: None,
        }
    }

    pub(super) fn forbidden(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            message: message.into(),
            hint: Some(hint.into()),
            phrase: None,
        }
    }

    pub(super) fn upstream(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            message: message.into(),
            hint: None,
            phrase: None,
        }
    }

    pub(super) fn timeout(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            ..Self::upstream(message)
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let hint = self.hint.map(|hint| format!("{hint}\n")).unwrap_or_default();
        let text = format!("hostler: {}\n{hint}", self.message);
        let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
        *response.status_mut() = self.status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        let phrase = self
            .phrase
            .and_then(|phrase| ReasonPhrase::try_from(phrase.into_bytes()).ok());
        if let Some(phrase) = phrase {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}

impl From<DialError> for Refusal {
    fn from(error: DialError) -> Self {
        match &error {
            DialError::Refused { .. } => {
                let pattern = error.pattern_to_allow();
                let (hint, phrase) = match &pattern {
                    Some(pattern) => (
                        format!("To allow it, start the session with --allow-host {pattern}"),
                        format!("Forbidden, allow it with --allow-host {pattern}"),
                    ),
                    None => ("No rule can allow it.".to_owned(), "Forbidden".to_owned()),
                };
                Self {
                    phrase: Some(phrase),
                    ..Self::forbidden(error.to_string(), hint)
                }
            }
            DialError::Resolve {
                source: crate::ResolveError::Timeout,
                ..
            }
            | DialError::Timeout { .. } => Self::timeout(with_cause(&error)),
            DialError::Resolve { .. } | DialError::Connect { .. } => Self::upstream(with_cause(&error)),
        }
    }
}

fn with_cause(error: &DialError) -> String {
    match error {
        DialError::Resolve { .. } | DialError::Connect { .. } => format!("{error}: {}", describe(error)),
        DialError::Refused { .. } | DialError::Timeout { .. } => error.to_string(),
    }
}
