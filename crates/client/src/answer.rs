//! An answer's body, and what it says: bounded in bytes and in time.

use crate::ClientError;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use std::time::Duration;
use wire::ErrorBody;

/// Of an answer.
const MAX_BYTES: usize = 64 << 20;
/// Of what an error says.
const MAX_WORDS: usize = 2000;

/// The whole body, and its head.
pub(crate) async fn read<B>(response: Response<B>, deadline: Duration) -> Result<(Parts, Bytes), ClientError>
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
    match tokio::time::timeout(deadline, reading).await {
        Ok(read) => read?,
        Err(_) => return Err(ClientError::Silent { after: deadline }),
    }
    Ok((parts, whole.freeze()))
}

/// The error that an answer tells.
pub(crate) fn refusal(parts: &Parts, bytes: &[u8]) -> ClientError {
    let status = parts.status.as_u16();
    let Ok(body) = serde_json::from_slice::<ErrorBody>(bytes) else {
        return not_ours(parts);
    };
    let code = body.error.details.as_ref();
    let code = code.and_then(|details| details.get("error_code")?.as_str());
    ClientError::Refused {
        status,
        code: code.map(words),
        message: words(&body.error.message),
        request_id: body
            .request_id
            .as_deref()
            .or_else(|| parts.headers.get("request-id")?.to_str().ok())
            .map(words),
    }
}

pub(crate) fn not_ours(parts: &Parts) -> ClientError {
    ClientError::NotOurs {
        status: parts.status.as_u16(),
        what: if is_of(&parts.headers, "text/html") {
            "it sent a web page"
        } else {
            "it sent nothing of its API"
        },
    }
}

/// Whether it says that it is of this type.
pub(crate) fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    said.and_then(|said| said.split(';').next())
        .is_some_and(|said| said.trim().eq_ignore_ascii_case(kind))
}

/// As much as anybody reads.
pub(crate) fn words(text: &str) -> String {
    text.chars().take(MAX_WORDS).collect()
}
