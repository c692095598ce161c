//! Those who still read sessions that this instance has let go of: what the next instance appends is shown to them, too.

use crate::AccessError;
use crate::events::Item;
use crate::hub::Hub;
use domain::SessionId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Query, Store};

/// Between two looks at what another process has written.
const LOOK: Duration = Duration::from_millis(20);
const PAGE: u32 = 256;

/// Dropped, it ends them.
pub struct Readers {
    store: Store,
    hubs: HashMap<SessionId, Arc<Hub>>,
}

impl Readers {
    pub(crate) fn new(store: Store, hubs: HashMap<SessionId, Arc<Hub>>) -> Self {
        Self { store, hubs }
    }

    /// Shows readers what is new in the log, without previews, until there are none.
    pub async fn follow(&mut self) -> Result<(), AccessError> {
        let mut watch = self.store.watch().await?;
        loop {
            self.hubs.retain(|_, hub| Arc::strong_count(hub) > 1);
            if self.hubs.is_empty() {
                return Ok(());
            }
            if watch.is_changed().await? {
                self.show_news().await?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn show_news(&mut self) -> Result<(), AccessError> {
        let last = self.store.last_numbers(self.hubs.keys()).await?;
        for (id, hub) in &self.hubs {
            match last.get(id) {
                Some(last) => show_until(&self.store, id, hub, *last).await?,
                None => hub.show_deleted(),
            }
        }
        self.hubs.retain(|id, _| last.contains_key(id));
        Ok(())
    }
}

async fn show_until(store: &Store, id: &SessionId, hub: &Hub, last: u64) -> Result<(), AccessError> {
    loop {
        let after = hub.last_seq();
        if after >= last {
            return Ok(());
        }
        let query = Query {
            after,
            limit: PAGE,
            types: &[],
        };
        let events = store.events(id, query).await?;
        if events.is_empty() {
            return Ok(());
        }
        hub.show(events.into_iter().map(Item::from));
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for hub in self.hubs.values() {
            hub.close();
        }
    }
}
