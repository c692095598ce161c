//! What can be asked about resources that do not run. It needs nothing but a store.

use crate::agents::Agents;
use crate::environments::Environments;
use crate::keys::{AdminKey, Keys};
use domain::Limits;
use store::{Refused, Store};
use wire::Invalid;

/// A handle; cheap to clone.
#[derive(Clone)]
pub struct Resources {
    store: Store,
    keys: Keys,
    limits: Limits,
}

impl Resources {
    /// `admin` opens every workspace.
    pub async fn open(store: Store, admin: AdminKey) -> Result<Self, store::Error> {
        let keys = Keys::open(store.clone(), Some(admin)).await?;
        Ok(Self {
            store,
            keys,
            limits: Limits::default(),
        })
    }

    /// With other limits for sandboxes of environments that do not say any.
    #[must_use]
    pub fn with_sandbox_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub fn agents(&self) -> Agents {
        Agents::new(self.store.clone())
    }

    pub fn environments(&self) -> Environments {
        Environments::new(self.store.clone(), self.limits)
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// Why something could not be done with a resource.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    #[error("there is no {kind} {id}")]
    NotFound { kind: &'static str, id: String },
    #[error("{kind} {id} is archived, and stays as it is")]
    Archived { kind: &'static str, id: String },
    #[error("{kind} {id} has version {present} by now: read it again and repeat the change")]
    VersionConflict {
        kind: &'static str,
        id: String,
        present: u64,
    },
    #[error("{kind} {id} is used by {sessions} sessions: delete them first")]
    InUse {
        kind: &'static str,
        id: String,
        sessions: u64,
    },
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl ResourceError {
    pub fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { kind, id: id.into() }
    }

    /// For `map_err`: what the store refused, with the name of what it refused it for.
    pub(crate) fn refused(kind: &'static str, id: impl Into<String>) -> impl FnOnce(Refused) -> Self {
        let id = id.into();
        move |refused| match refused {
            Refused::NotFound => Self::NotFound { kind, id },
            Refused::Archived => Self::Archived { kind, id },
            Refused::VersionConflict { present } => Self::VersionConflict { kind, id, present },
            Refused::InUse { sessions } => Self::InUse { kind, id, sessions },
            Refused::Invalid(invalid) => Self::Invalid(invalid),
        }
    }
}
