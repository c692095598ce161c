//! How a process ended, once it has, and who waits for that.

use guest_protocol::Exit;
use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// Set once by the reaper; awaited by the process's pump alone.
#[derive(Default)]
pub(crate) struct ExitCell {
    exit: Cell<Option<Exit>>,
    waiting: RefCell<Option<Waker>>,
}

impl ExitCell {
    pub(crate) fn get(&self) -> Option<Exit> {
        self.exit.get()
    }

    pub(crate) fn set(&self, exit: Exit) {
        self.exit.set(Some(exit));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Exit> {
        if let Some(exit) = self.exit.get() {
            return Poll::Ready(exit);
        }
        self.waiting.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}
