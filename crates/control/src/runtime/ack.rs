//! Acknowledgements to the guest. Only the newest matters: one that is late or lost is made up for by the next.

use crate::tasks::{self, Task};
use guest_protocol::Client;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// With nothing to acknowledge for so long, the connection to the guest is not kept: most sessions are idle.
const QUIET: Duration = Duration::from_secs(5);

pub(crate) struct Acks {
    stored: watch::Sender<u64>,
    _task: Task<()>,
}

impl Acks {
    pub(super) fn start(client: Client, process: String) -> Self {
        let (stored, mut newest) = watch::channel(0);
        let task = tasks::start("acknowledgements", async move {
            while changed(&mut newest, &client).await {
                let seq = *newest.borrow_and_update();
                // Boxed, so that a task that waits has no room for it.
                if let Err(error) = Box::pin(client.ack(&process, seq)).await {
                    tracing::debug!(process, seq, %error, "an acknowledgement was not taken");
                }
            }
        });
        Self { stored, _task: task }
    }

    /// Everything up to this number is stored.
    pub(crate) fn stored(&self, seq: u64) {
        self.stored.send_replace(seq);
    }
}

/// False when nothing will be stored any more.
async fn changed(newest: &mut watch::Receiver<u64>, client: &Client) -> bool {
    if let Ok(changed) = timeout(QUIET, newest.changed()).await {
        return changed.is_ok();
    }
    client.rest();
    newest.changed().await.is_ok()
}
