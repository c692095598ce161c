//! Keys: who may come, and into which workspace.
//!
//! A key is 256 random bits that are shown once. The store has its SHA-256, and so has this process, in a table by the
//! hash: what is compared are hashes, so how long it takes tells nothing of a key.

mod admin;
mod secret;

pub use admin::{AdminKey, AdminKeyError, Origin};
pub use secret::Secret;

use crate::ResourceError;
use domain::{KeyId, WorkspaceId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use store::{KeyHash, NewKey, Store};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::keys::{Create, Created, Key};
use wire::workspaces::Workspace;

const KIND: &str = "key";
/// How precisely the last use is known.
const USE_STEP: Duration = Duration::from_mins(1);

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// May act in every workspace, and make keys.
    Admin,
    /// May act in its own workspace.
    Key { id: KeyId, workspace: WorkspaceId },
}

/// A handle; cheap to clone.
#[derive(Clone)]
pub struct Keys {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    admin: Option<KeyHash>,
    table: RwLock<Table>,
    /// Told when a key was taken out of the table.
    revoked: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    open: HashMap<KeyHash, Open>,
    workspaces: HashSet<WorkspaceId>,
}

struct Open {
    id: KeyId,
    workspace: WorkspaceId,
    /// When the last use was recorded.
    recorded: Option<Instant>,
}

impl Open {
    fn new(id: KeyId, workspace: WorkspaceId) -> Self {
        Self {
            id,
            workspace,
            recorded: None,
        }
    }
}

impl Keys {
    /// Without an admin key nobody comes in as the admin: enough to make and revoke keys.
    pub async fn open(store: Store, admin: Option<AdminKey>) -> Result<Self, store::Error> {
        store.create_workspace(&WorkspaceId::default()).await?;
        let mut table = Table::default();
        for key in store.keys().await? {
            if key.revoked_at.is_none() {
                table.open.insert(key.hash, Open::new(key.id, key.workspace));
            }
        }
        let workspaces = store.workspaces().await?;
        table.workspaces = workspaces.into_iter().map(|(workspace, _)| workspace).collect();
        let shared = Shared {
            store,
            admin: admin.map(|admin| admin.hash()),
            table: RwLock::new(table),
            revoked: watch::Sender::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Whose key it is; its use is recorded.
    pub async fn authenticate(&self, secret: &str) -> Option<Caller> {
        let hash = secret::hash(secret);
        if self.shared.admin == Some(hash) {
            return Some(Caller::Admin);
        }
        let now = Instant::now();
        let (caller, due) = {
            let table = self.read();
            let key = table.open.get(&hash)?;
            let due = key
                .recorded
                .is_none_or(|recorded| now.duration_since(recorded) >= USE_STEP);
            let (id, workspace) = (key.id.clone(), key.workspace.clone());
            (Caller::Key { id, workspace }, due)
        };
        if due && let Caller::Key { id, .. } = &caller {
            if let Some(key) = self.write().open.get_mut(&hash) {
                key.recorded = Some(now);
            }
            // Whoever has the key comes in also where the disk is full.
            if let Err(error) = self
                .shared
                .store
                .record_key_use(id, OffsetDateTime::now_utc())
                .await
            {
                tracing::warn!(key = %id, %error, "the use of a key was not recorded");
            }
        }
        Some(caller)
    }

    /// Until a caller's key is revoked; for ever for the admin. What a key began may outlast its request.
    pub async fn shut_out(&self, caller: &Caller) {
        let mut revoked = self.shared.revoked.subscribe();
        if let Caller::Key { id, .. } = caller {
            // The sender is in what `self` shares.
            while self.is_open(id) && revoked.changed().await.is_ok() {}
        } else {
            std::future::pending::<()>().await;
        }
    }

    fn is_open(&self, id: &KeyId) -> bool {
        self.read().open.values().any(|open| open.id == *id)
    }

    pub async fn create(&self, create: Create) -> Result<Created, ResourceError> {
        let secret = Secret::random();
        let new = NewKey {
            workspace: create.workspace_id.unwrap_or_default(),
            name: create.name,
            prefix: secret.prefix().to_owned(),
            hash: secret.hash(),
        };
        let key = self.shared.store.create_key(new).await?;
        let mut table = self.write();
        table.workspaces.insert(key.workspace.clone());
        let open = Open::new(key.id.clone(), key.workspace.clone());
        table.open.insert(key.hash, open);
        Ok(Created {
            key: shown(key),
            secret: secret.reveal().to_owned(),
        })
    }

    /// The oldest first, those that were revoked included.
    pub async fn list(&self) -> Result<Vec<Key>, ResourceError> {
        Ok(self.shared.store.keys().await?.into_iter().map(shown).collect())
    }

    /// From the next request on it opens nothing, also where whoever asked does not wait for the answer. A key that
    /// could not be revoked in the store goes on to open.
    pub async fn revoke(&self, id: &KeyId) -> Result<Key, ResourceError> {
        let closed = self.take(id);
        // Not before the store has it: what was cut for a key that stays would have been cut for nothing.
        let _told = Told(&self.shared.revoked);
        match self.shared.store.revoke_key(id).await {
            Ok(revoked) => {
                let key = revoked.ok_or_else(|| ResourceError::not_found(KIND, id.as_str()))?;
                Ok(shown(key))
            }
            Err(error) => {
                self.write().open.extend(closed);
                Err(error.into())
            }
        }
    }

    fn take(&self, id: &KeyId) -> Option<(KeyHash, Open)> {
        let mut table = self.write();
        let found = table.open.iter().find(|(_, open)| open.id == *id);
        let hash = found.map(|(hash, _)| *hash)?;
        table.open.remove_entry(&hash)
    }

    pub fn has_workspace(&self, workspace: &WorkspaceId) -> bool {
        self.read().workspaces.contains(workspace)
    }

    /// One that is there stays as it is.
    pub async fn create_workspace(&self, id: &WorkspaceId) -> Result<Workspace, ResourceError> {
        self.shared.store.create_workspace(id).await?;
        self.write().workspaces.insert(id.clone());
        let all = self.workspaces().await?;
        all.into_iter()
            .find(|workspace| workspace.id == *id)
            .ok_or_else(|| ResourceError::not_found("workspace", id.as_str()))
    }

    /// By name.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>, ResourceError> {
        let all = self.shared.store.workspaces().await?;
        let workspace = |(id, created_at)| Workspace { id, created_at };
        Ok(all.into_iter().map(workspace).collect())
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.shared.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.shared.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(key: store::Key) -> Key {
    Key {
        id: key.id,
        name: key.name,
        workspace_id: key.workspace,
        prefix: key.prefix,
        created_at: key.created_at,
        last_used_at: key.last_used_at,
        revoked_at: key.revoked_at,
    }
}

/// Has whoever waits for keys to be revoked look again, however the attempt ends.
struct Told<'a>(&'a watch::Sender<()>);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use store::Instance;

    async fn keys(directory: &tempfile::TempDir) -> Keys {
        let instance = Instance::open(&directory.path().join("data")).unwrap();
        let store = Store::open(instance).await.unwrap();
        Keys::open(store, None).await.unwrap()
    }

    #[tokio::test]
    async fn a_key_is_closed_also_where_nobody_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let keys = keys(&directory).await;
        let made = keys.create(Create::default()).await.unwrap();
        assert!(keys.authenticate(&made.secret).await.is_some());
        // Asked once, and left.
        let _ = keys.revoke(&made.key.id).now_or_never();
        assert_eq!(keys.authenticate(&made.secret).await, None);
    }

    #[tokio::test]
    async fn whoever_came_in_with_a_key_hears_when_it_is_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let keys = keys(&directory).await;
        let (one, other) = (Create::default(), Create::default());
        let (one, other) = (keys.create(one).await.unwrap(), keys.create(other).await.unwrap());
        let caller = async |secret: &str| keys.authenticate(secret).await.unwrap();
        let (one_caller, other_caller) = (caller(&one.secret).await, caller(&other.secret).await);
        let mut out = Box::pin(keys.shut_out(&one_caller));
        assert!(out.as_mut().now_or_never().is_none());
        keys.revoke(&other.key.id).await.unwrap();
        assert!(out.as_mut().now_or_never().is_none());
        keys.revoke(&one.key.id).await.unwrap();
        out.await;
        keys.shut_out(&other_caller).await;
        assert!(keys.shut_out(&Caller::Admin).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_revoked_is_not_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let keys = keys(&directory).await;
        let made = keys.create(Create::default()).await.unwrap();
        keys.shared.store.close().await;
        assert!(keys.revoke(&made.key.id).await.is_err());
        assert!(keys.authenticate(&made.secret).await.is_some());
    }

    #[tokio::test]
    async fn without_an_admin_key_nobody_is_the_admin() {
        let directory = tempfile::tempdir().unwrap();
        let keys = keys(&directory).await;
        for secret in ["", "admin", "hk_"] {
            assert_eq!(keys.authenticate(secret).await, None);
        }
    }
}
