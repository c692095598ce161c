//! Tasks with a name and an owner: a task ends with the handle that its owner holds, and a panic is told by name.

use std::future::Future;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// A running task. Dropping it ends the task at its next wait.
pub(crate) struct Task<T> {
    name: &'static str,
    handle: JoinHandle<T>,
}

/// The task panicked; nothing of what it would have answered is known.
#[derive(Debug, thiserror::Error)]
#[error("the task {name} failed")]
pub(crate) struct TaskFailed {
    pub name: &'static str,
}

pub(crate) fn start<T: Send + 'static>(
    name: &'static str,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let named = future.instrument(tracing::debug_span!("task", name));
    // What it logs is about what its starter was about, also where the task's own span is not recorded.
    let handle = tokio::spawn(named.in_current_span());
    Task { name, handle }
}

impl<T> Task<T> {
    /// Waits for its end. May be dropped while it waits and called again.
    pub(crate) async fn join(&mut self) -> Result<T, TaskFailed> {
        (&mut self.handle).await.map_err(|error| {
            if error.is_panic() {
                tracing::error!(task = self.name, "a task panicked");
            }
            TaskFailed { name: self.name }
        })
    }

    /// Waits for the end of a task that ends by itself.
    pub(crate) async fn finished(mut self) {
        // A panic has been told.
        let _ = self.join().await;
    }

    pub(crate) fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
