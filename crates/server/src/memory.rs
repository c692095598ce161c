//! The memory that requests share, from their first bytes until they are answered.
//!
//! What is small is free. For more, a request waits until there is room for all that it may come to: taken bit by bit,
//! two could wait for each other. A workspace has a share of its own, so that whoever sends slowly takes nothing from
//! the others.

use domain::WorkspaceId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of one request, before it takes of what is shared.
pub(crate) const FREE_BYTES: usize = 64 << 10;
const PERMIT_BYTES: usize = 1024;
/// How many workspaces it takes to use up everything.
const SHARES: usize = 4;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    all: Arc<Semaphore>,
    /// In permits.
    share: usize,
    /// As many as there are workspaces, and one for requests of none.
    shares: Mutex<HashMap<Option<WorkspaceId>, Arc<Semaphore>>>,
}

/// What the requests of one workspace take of.
#[derive(Clone)]
pub(crate) struct Share {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    /// In permits.
    most: usize,
}

/// Given back when it is dropped.
pub(crate) struct Held {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        let permits = (bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let shared = Shared {
            all: Arc::new(Semaphore::new(permits)),
            share: permits.div_ceil(SHARES),
            shares: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    pub(crate) fn share(&self, workspace: Option<&WorkspaceId>) -> Share {
        let mut shares = self.shared.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let own = shares
            .entry(workspace.cloned())
            .or_insert_with(|| Arc::new(Semaphore::new(self.shared.share)));
        Share {
            all: Arc::clone(&self.shared.all),
            own: Arc::clone(own),
            most: self.shared.share,
        }
    }
}

impl Share {
    /// Waits for room for so many bytes, or for the whole share.
    pub(crate) async fn hold(&self, bytes: usize) -> Option<Held> {
        let permits = bytes.div_ceil(PERMIT_BYTES).min(self.most);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let own = Arc::clone(&self.own).acquire_many_owned(permits).await.ok()?;
        let all = Arc::clone(&self.all).acquire_many_owned(permits).await.ok()?;
        Some(Held { _own: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_workspace_takes_nothing_of_another_s_share() {
        let memory = Memory::new(SHARES << 20);
        let share = |name: &str| memory.share(Some(&name.parse().unwrap()));
        let now = |name: &str, bytes| share(name).hold(bytes).now_or_never().flatten();
        let whole = now("slow", 100 << 20).expect("there is room");
        assert!(now("slow", 1).is_none());
        let half = now("other", 1 << 19).expect("there is room");
        assert!(now("other", 1 << 19).is_some());
        assert!(memory.share(None).hold(1).now_or_never().is_some());
        drop((whole, half));
        assert!(now("slow", 1).is_some());
        assert_eq!(memory.shared.all.available_permits(), SHARES << 10);
    }

    #[tokio::test]
    async fn whoever_waits_gets_room_when_there_is_some() {
        let memory = Memory::new(1 << 20);
        let share = memory.share(None);
        let held = share.hold(1 << 20).await;
        let mut waiting = Box::pin(share.hold(1));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        assert!(waiting.await.is_some());
    }
}
