//! Bodies of requests: never longer than is allowed, never slower than is waited for.

use crate::refusal::Refusal;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

const MAX_JSON_BYTES: u64 = 1 << 20;

/// As much as any host sends at once.
const MAX_UNWANTED_BYTES: u64 = 64 << 20;

/// For the next piece of a body.
const PATIENCE: Duration = Duration::from_secs(30);

/// The next piece of a body of which at most `left` bytes may still come; nothing at its end.
pub(super) async fn next(body: &mut Incoming, left: &mut u64) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = timeout(PATIENCE, body.frame()).await;
        let frame = match frame.map_err(|_| Refusal::invalid("the rest of the request did not come"))? {
            None => return Ok(None),
            Some(frame) => {
                frame.map_err(|error| Refusal::invalid(format!("the request is cut off: {error}")))?
            }
        };
        if let Ok(bytes) = frame.into_data() {
            let rest = left.checked_sub(bytes.len() as u64);
            *left = rest.ok_or_else(|| Refusal::too_large("the request is too long"))?;
            return Ok(Some(bytes));
        }
    }
}

pub(super) async fn json<T: DeserializeOwned>(body: &mut Incoming) -> Result<T, Refusal> {
    let mut whole = Vec::new();
    let mut left = MAX_JSON_BYTES;
    while let Some(bytes) = next(body, &mut left).await? {
        whole.extend_from_slice(&bytes);
    }
    serde_json::from_slice(&whole).map_err(|error| Refusal::invalid(format!("the request is wrong: {error}")))
}

/// Takes the rest of a body that is no longer wanted: a host that is still sending would meet a closed connection
/// instead of the answer. What is too long or too slow for that is cut off.
pub(super) async fn rest(body: &mut Incoming) {
    let mut left = MAX_UNWANTED_BYTES;
    let all = async { while let Ok(Some(_)) = next(body, &mut left).await {} };
    // Late or whole, the answer goes out now.
    let _ = timeout(PATIENCE, all).await;
}
