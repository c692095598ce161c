//! Reading a request's body: so much, and in so much time.

use crate::api_error::ApiError;
use crate::config::Limits;
use crate::reply::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What of a body that is not wanted is read and dropped, so that the client gets to read the refusal.
const DISCARDED_BYTES: usize = 64 << 20;
const DISCARD_DEADLINE: Duration = Duration::from_secs(5);
/// One permit of the memory that bodies share.
const PERMIT_BYTES: usize = 1024;

/// Bodies that are being read, within what all of them may hold together.
#[derive(Clone)]
pub(crate) struct Reader {
    limits: Limits,
    memory: Arc<Semaphore>,
}

impl Reader {
    pub(crate) fn new(limits: Limits) -> Self {
        let permits = (limits.buffered_bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limits,
            memory: Arc::new(Semaphore::new(permits)),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The memory that bodies share, and the permits that one of `limit` bytes needs of it.
    pub(crate) fn memory(&self, limit: usize) -> (Arc<Semaphore>, u32) {
        (Arc::clone(&self.memory), self.permits(limit))
    }

    fn permits(&self, bytes: usize) -> u32 {
        let all = self.limits.buffered_bytes / PERMIT_BYTES;
        u32::try_from(bytes.div_ceil(PERMIT_BYTES).min(all)).unwrap_or(u32::MAX)
    }

    /// The whole body, unless it has more than `limit` bytes.
    pub(crate) async fn read(&self, body: Body, limit: usize) -> Result<Bytes, ApiError> {
        let announced = body.size_hint();
        if announced.lower() > limit as u64 {
            discard(body).await;
            return Err(ApiError::too_large(limit));
        }
        let most = announced.upper().map_or(limit, |most| limit.min(most as usize));
        let reading = async {
            let _held = self
                .memory
                .acquire_many(self.permits(most))
                .await
                .map_err(|_| ApiError::unavailable("the server is ending: try again"))?;
            self.collect(body, limit).await
        };
        let deadline = self.limits.body_deadline;
        timeout(deadline, reading)
            .await
            .unwrap_or_else(|_| Err(late(deadline)))
    }

    async fn collect(&self, mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
        let mut whole = BytesMut::new();
        loop {
            let frame = timeout(self.limits.body_pause, body.frame()).await;
            let Some(frame) = frame.map_err(|_| late(self.limits.body_pause))? else {
                return Ok(whole.freeze());
            };
            let frame = frame.map_err(|_| ApiError::invalid_request("the body ended early"))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > limit {
                drop(whole);
                discard(body).await;
                return Err(ApiError::too_large(limit));
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
