//! Where the keys are: in a data directory that nobody uses, or with the server that does.

use crate::arguments::DataArgument;
use crate::reach::{Reach, Server};
use domain::KeyId;
use hosted::{Keys, ResourceError};
use store::{Instance, Store};
use terminal::{Environment, Failure};
use wire::keys::{All, Create, Created, Key};

pub(super) enum Place {
    Here { store: Store, keys: Keys },
    Server(Box<Server>),
}

impl Place {
    pub(super) async fn find(argument: &DataArgument, environment: &Environment) -> Result<Self, Failure> {
        match Reach::find(argument, None, environment)? {
            Reach::Server(server) => Ok(Self::Server(server)),
            Reach::Directory(instance) => Self::here(instance).await,
            Reach::Nothing { data } => {
                let instance = Instance::open(&data).map_err(|error| Failure::failed("start", error))?;
                Self::here(instance).await
            }
        }
    }

    async fn here(instance: Instance) -> Result<Self, Failure> {
        let store = Store::open(instance).await;
        let store = store.map_err(|error| Failure::failed("store", error))?;
        let keys = Keys::open(store.clone(), None).await;
        let keys = keys.map_err(|error| Failure::failed("store", error))?;
        Ok(Self::Here { store, keys })
    }

    pub(super) async fn create(&self, create: Create) -> Result<Created, Failure> {
        match self {
            Self::Here { keys, .. } => keys.create(create).await.map_err(refused),
            Self::Server(server) => {
                let created = server.client.post("/host/v1/keys", &create).await;
                created.map_err(|error| server.explain(error))
            }
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<Key>, Failure> {
        match self {
            Self::Here { keys, .. } => keys.list().await.map_err(refused),
            Self::Server(server) => {
                let all: Result<All<Key>, _> = server.client.get("/host/v1/keys").await;
                Ok(all.map_err(|error| server.explain(error))?.data)
            }
        }
    }

    pub(super) async fn revoke(&self, id: &KeyId) -> Result<Key, Failure> {
        match self {
            Self::Here { keys, .. } => keys.revoke(id).await.map_err(refused),
            Self::Server(server) => {
                let path = format!("/host/v1/keys/{id}/revoke");
                let revoked = server.client.post(&path, &serde_json::json!({})).await;
                revoked.map_err(|error| server.explain(error))
            }
        }
    }

    pub(super) async fn close(self) {
        if let Self::Here { store, .. } = self {
            store.close().await;
        }
    }
}

fn refused(error: ResourceError) -> Failure {
    Failure::failed("keys", error)
}
