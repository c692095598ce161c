//! How a server ends: no more connections and requests first, its streams last.

use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Cheap to clone; all clones are of the same server.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    closed: CancellationToken,
    cut: CancellationToken,
    under_way: Arc<watch::Sender<usize>>,
}

/// A request that has to be answered.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<watch::Sender<usize>>);

impl Ending {
    /// Takes no more connections. Those that are there end with the request that they are at, and streams go on.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Waits until every request is answered. A stream is answered when it begins.
    pub async fn answered(&self) {
        let mut under_way = self.under_way.subscribe();
        // It is never dropped before this.
        under_way.wait_for(|count| *count == 0).await.ok();
    }

    /// Ends streams, too.
    pub fn cut(&self) {
        self.closed.cancel();
        self.cut.cancel();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits until there are to be no more requests.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Waits until streams are to end.
    pub(crate) async fn streams_end(&self) {
        self.cut.cancelled().await;
    }

    pub(crate) fn begin(&self) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(Arc::clone(&self.under_way))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
