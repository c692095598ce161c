//! The tasks of one sandbox's egress. All end when it ends; one that panics ends alone and is logged by the runtime.

use std::future::Future;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument;

#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs until it ends or everything is stopped.
    pub(crate) fn start(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        // On its own: what waits for the stop beside it would hold room for it three times.
        let work = Box::pin(work);
        let span = tracing::debug_span!("egress", task = name);
        self.tracker.spawn(
            async move {
                stop.run_until_cancelled_owned(work).await;
            }
            .instrument(span),
        );
    }

    /// The same, but it also ends with the handle.
    pub(crate) fn start_owned(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        let span = tracing::debug_span!("egress", task = name);
        AbortOnDropHandle::new(self.tracker.spawn(work.instrument(span)))
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// After [`Self::stop`]: all tasks have ended.
    pub(crate) async fn ended(&self) {
        self.tracker.wait().await;
    }
}
