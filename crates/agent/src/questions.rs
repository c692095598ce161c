//! Control requests from the runtime to its host that wait for an answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use stream_json::Answer;
use tokio::sync::oneshot;

#[derive(Default)]
pub(crate) struct Questions {
    open: RefCell<HashMap<String, oneshot::Sender<Answer>>>,
    closed: Cell<bool>,
}

impl Questions {
    /// Waits for the answer to `request_id`; `None` once nobody can answer any more.
    pub(crate) fn expect(&self, request_id: &str) -> Option<oneshot::Receiver<Answer>> {
        if self.closed.get() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.open.borrow_mut().insert(request_id.to_owned(), sender);
        Some(receiver)
    }

    pub(crate) fn withdraw(&self, request_id: &str) {
        self.open.borrow_mut().remove(request_id);
    }

    /// An answer to nothing that was asked is dropped.
    pub(crate) fn answer(&self, answer: Answer) {
        if let Some(waiting) = self.open.borrow_mut().remove(answer.request_id()) {
            // Whoever asked may have given up meanwhile.
            let _ = waiting.send(answer);
        }
    }

    /// The host's input has ended: no answer will come.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.open.borrow_mut().clear();
    }
}
