//! Reading a request's body: so much, and in so much time.

use crate::api_error::ApiError;
use crate::config::Limits;
use crate::memory::{FREE_BYTES, Held, Memory, Share};
use crate::reply::Body;
use bytes::{Bytes, BytesMut};
use domain::WorkspaceId;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio::time::timeout;

/// What of a body that is not wanted is read and dropped, so that the client gets to read the refusal.
const DISCARDED_BYTES: usize = 64 << 20;
const DISCARD_DEADLINE: Duration = Duration::from_secs(5);
const CROWDED: &str =
    "too many large requests of this workspace are on their way: try again when some are answered";
/// Bodies that are being read, within what all of them may hold together.
#[derive(Clone)]
pub(crate) struct Reader {
    limits: Limits,
    memory: Memory,
}

/// A body, and the room that it takes until its request is answered.
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    pub(crate) held: Option<Held>,
}

impl Reader {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            memory: Memory::new(limits.buffered_bytes),
            limits,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The memory that requests of a workspace take of.
    pub(crate) fn share(&self, workspace: Option<&WorkspaceId>) -> Share {
        self.memory.share(workspace)
    }

    /// The whole body, unless it has more than `limit` bytes.
    pub(crate) async fn read(&self, body: Body, limit: usize, share: &Share) -> Result<Read, ApiError> {
        let announced = body.size_hint();
        if announced.lower() > limit as u64 {
            discard(body).await;
            return Err(ApiError::too_large(limit));
        }
        let most = announced.upper().map_or(limit, |most| limit.min(most as usize));
        let deadline = self.limits.body_deadline;
        timeout(deadline, self.collect(body, most, limit, share))
            .await
            .unwrap_or_else(|_| Err(late(deadline)))
    }

    /// A body of at most `most` bytes, as far as it was announced.
    async fn collect(
        &self,
        mut body: Body,
        most: usize,
        limit: usize,
        share: &Share,
    ) -> Result<Read, ApiError> {
        let mut whole = BytesMut::new();
        let mut held = None;
        loop {
            let frame = timeout(self.limits.body_pause, body.frame()).await;
            let Some(frame) = frame.map_err(|_| late(self.limits.body_pause))? else {
                let bytes = whole.freeze();
                return Ok(Read { bytes, held });
            };
            let frame = frame.map_err(|_| ApiError::invalid_request("the body ended early"))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > limit {
                drop(whole);
                discard(body).await;
                return Err(ApiError::too_large(limit));
            }
            if held.is_none() && whole.len() + data.len() > FREE_BYTES {
                let room = timeout(self.limits.body_pause, share.hold(most)).await;
                let Ok(room) = room else {
                    drop(whole);
                    discard(body).await;
                    return Err(ApiError::unavailable(CROWDED));
                };
                held = room;
                whole.reserve(most - whole.len());
            }
            whole.extend_from_slice(&data);
        }
    }
}

fn late(deadline: Duration) -> ApiError {
    ApiError::body_timeout(format!(
        "the body did not arrive within {deadline:?}, and nothing was done"
    ))
}

pub(crate) async fn discard(mut body: Body) {
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARDED_BYTES {
                return;
            }
        }
    };
    // Whoever is still sending after this does not get to read the answer.
    let _ = timeout(DISCARD_DEADLINE, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::whole;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_large_body_has_room_until_it_is_answered_or_is_refused() {
        let limits = Limits {
            buffered_bytes: 4 << 20,
            body_pause: Duration::from_millis(20),
            ..Limits::default()
        };
        let reader = Reader::new(limits);
        let share = reader.share(None);
        let body = |bytes: usize| whole(vec![b' '; bytes]);
        let large = reader.read(body(900 << 10), 1 << 20, &share).await.unwrap();
        assert_eq!(large.bytes.len(), 900 << 10);
        let small = reader.read(body(FREE_BYTES), 1 << 20, &share).await.unwrap();
        assert!(large.held.is_some() && small.held.is_none());
        let refused = reader.read(body(900 << 10), 1 << 20, &share).await;
        assert_eq!(refused.err().unwrap().status().as_u16(), 529);
        drop(large);
        assert!(share.hold(1 << 20).now_or_never().is_some());
        assert!(reader.read(body(900 << 10), 1 << 20, &share).await.is_ok());
    }
}
