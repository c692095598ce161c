//! Acknowledgements to the guest. Only the newest matters: one that is late or lost is made up for by the next.

use crate::tasks::{self, Task};
use guest_protocol::Client;
use tokio::sync::watch;

pub(crate) struct Acks {
    stored: watch::Sender<u64>,
    _task: Task<()>,
}

impl Acks {
    pub(super) fn start(client: Client, process: String) -> Self {
        let (stored, mut newest) = watch::channel(0);
        let task = tasks::start("acknowledgements", async move {
            while newest.changed().await.is_ok() {
                let seq = *newest.borrow_and_update();
                if let Err(error) = client.ack(&process, seq).await {
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
