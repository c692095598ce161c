//! A connection that counts what passes, so that a frame that is on its way is bounded in memory and in time.
//!
//! A frame is gathered below what reads it. Its first bytes are free; for more it waits for the memory that all bodies
//! share, and so the client waits.

use crate::memory::{FREE_BYTES, Held, Share};
use futures_util::future::BoxFuture;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Around what is in a client's control frame: two bytes and the mask.
const CONTROL_HEAD: usize = 6;

pub(super) struct Metered<T> {
    inner: T,
    flow: Arc<Flow>,
    share: Share,
    /// That a large frame may have.
    most_bytes: usize,
    waiting: Option<BoxFuture<'static, Option<Held>>>,
}

/// What has passed.
#[derive(Default)]
pub(super) struct Flow {
    read: AtomicU64,
    written: AtomicU64,
    gathered: Mutex<Gathered>,
}

/// What was read and is no whole message yet. What is read ahead of the next message may be missing from it.
#[derive(Default)]
struct Gathered {
    bytes: usize,
    since: Option<Instant>,
    memory: Option<Held>,
}

impl<T> Metered<T> {
    /// With the memory that a large frame takes of, and how much of it.
    pub(super) fn new(inner: T, share: Share, most_bytes: usize) -> (Self, Arc<Flow>) {
        let flow = Arc::new(Flow::default());
        let metered = Self {
            inner,
            flow: Arc::clone(&flow),
            share,
            most_bytes,
            waiting: None,
        };
        (metered, flow)
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
    }
}

impl Flow {
    /// Bytes from the client, of whatever kind.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes that the client's side has taken.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Since when a message has been on its way.
    pub(super) fn since(&self) -> Option<Instant> {
        self.gathered().since
    }

    /// A whole message was handed over, and is done with.
    pub(super) fn done(&self) {
        *self.gathered() = Gathered::default();
    }

    /// A control frame with so much in it was handed over; it may have come in the middle of a message.
    pub(super) fn control(&self, payload: usize) {
        let mut gathered = self.gathered();
        gathered.bytes = gathered.bytes.saturating_sub(payload + CONTROL_HEAD);
        if gathered.bytes == 0 {
            *gathered = Gathered::default();
        }
    }

    /// Whether a client that sends a large message is held up here until there is room for it.
    pub(super) fn needs_memory(&self) -> bool {
        let gathered = self.gathered();
        gathered.bytes > FREE_BYTES && gathered.memory.is_none()
    }

    fn came(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut gathered = self.gathered();
        gathered.bytes += bytes;
        gathered.since.get_or_insert_with(Instant::now);
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.flow.needs_memory() {
            let (share, most_bytes) = (&this.share, this.most_bytes);
            let waiting = this.waiting.get_or_insert_with(|| {
                let share = share.clone();
                Box::pin(async move { share.hold(most_bytes).await })
            });
            let memory = ready!(waiting.as_mut().poll(context));
            this.waiting = None;
            this.flow.gathered().memory = memory;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            this.flow.came(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(context, bytes))?;
        this.flow.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_large_message_waits_for_memory_and_gives_it_back_when_it_is_done() {
        let share = Memory::new(4 << 20).share(None);
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let (mut metered, flow) = Metered::new(near, share.clone(), 1 << 20);
        far.write_all(&vec![0; FREE_BYTES + 2]).await.unwrap();
        let mut buffer = vec![0; FREE_BYTES + 1];
        let all = share.hold(1 << 20).await;
        metered.read_exact(&mut buffer).await.unwrap();
        let mut next = [0];
        let mut reading = Box::pin(metered.read_exact(&mut next));
        assert!(futures_util::poll!(&mut reading).is_pending());
        drop(all);
        reading.await.unwrap();
        assert!(share.hold(1).now_or_never().is_none());
        assert!(flow.since().is_some());
        flow.done();
        assert!(share.hold(1 << 20).now_or_never().is_some());
        assert!(flow.since().is_none());
    }

    #[test]
    fn a_pong_in_the_middle_of_a_message_does_not_end_it() {
        let flow = Flow::default();
        flow.came(100);
        let began = flow.since();
        flow.came(CONTROL_HEAD);
        flow.control(0);
        assert_eq!(flow.since(), began);
        flow.done();
        flow.came(CONTROL_HEAD + 4);
        flow.control(4);
        assert!(flow.since().is_none());
        assert_eq!(flow.read(), 116);
    }
}
