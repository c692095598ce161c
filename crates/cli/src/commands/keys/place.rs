//! Where the keys are: in a data directory that nobody uses, or with the server that does.

use crate::arguments::DataArgument;
use crate::check::data_directory;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::settings::known_admin_key;
use client::{Client, ClientError, UrlError};
use control::{AdminKey, Keys, ResourceError, ServerAddress};
use domain::KeyId;
use std::path::Path;
use store::{Instance, InstanceError, Store};
use wire::keys::{All, Create, Created, Key};

pub(super) enum Place {
    Here { store: Store, keys: Keys },
    Server(Box<Client>),
}

impl Place {
    /// The server that `HOSTLER_URL` names; else the data directory, or the server that holds it.
    pub(super) async fn find(argument: &DataArgument, environment: &Environment) -> Result<Self, Failure> {
        if let Some(url) = &environment.server_url {
            let given = environment.server_key.as_ref().and_then(|key| key.to_str());
            let key = given.ok_or_else(|| {
                Failure::usage(NoKey).hint("set HOSTLER_API_KEY to the admin key of that server")
            })?;
            return server(&url.to_string_lossy(), key);
        }
        let data = data_directory(argument, environment)?;
        match Instance::open(&data) {
            Ok(instance) => Self::here(instance).await,
            Err(taken @ InstanceError::Taken { .. }) => {
                with_holder(&data, known_admin_key(environment)?.as_deref(), taken)
            }
            Err(error) => Err(Failure::failed("start", error)),
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
            Self::Server(client) => client.post("/host/v1/keys", &create).await.map_err(unanswered),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<Key>, Failure> {
        match self {
            Self::Here { keys, .. } => keys.list().await.map_err(refused),
            Self::Server(client) => {
                let all: Result<All<Key>, _> = client.get("/host/v1/keys").await;
                Ok(all.map_err(unanswered)?.data)
            }
        }
    }

    pub(super) async fn revoke(&self, id: &KeyId) -> Result<Key, Failure> {
        match self {
            Self::Here { keys, .. } => keys.revoke(id).await.map_err(refused),
            Self::Server(client) => {
                let path = format!("/host/v1/keys/{id}/revoke");
                let nothing = serde_json::json!({});
                client.post(&path, &nothing).await.map_err(unanswered)
            }
        }
    }

    pub(super) async fn close(self) {
        if let Self::Here { store, .. } = self {
            store.close().await;
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("HOSTLER_URL is set, and HOSTLER_API_KEY is not")]
struct NoKey;

/// The user who may read the directory may read its admin key too.
fn with_holder(data: &Path, given: Option<&str>, taken: InstanceError) -> Result<Place, Failure> {
    let url = ServerAddress::read(data).map_err(|error| Failure::failed("start", error))?;
    let Some(url) = url else {
        return Err(Failure::failed("start", taken).hint("wait for it to end: it is not a server"));
    };
    let kept = AdminKey::kept(data).map_err(|error| Failure::failed("start", error))?;
    match given.or_else(|| kept.as_ref().map(AdminKey::reveal)) {
        Some(key) => server(&url, key),
        None => Err(Failure::failed("start", taken)
            .hint("set HOSTLER_API_KEY to the key that the server was started with")),
    }
}

fn server(url: &str, key: &str) -> Result<Place, Failure> {
    let client = Client::new(url, key);
    client
        .map(|client| Place::Server(Box::new(client)))
        .map_err(|error: UrlError| Failure::usage(error))
}

fn refused(error: ResourceError) -> Failure {
    Failure::failed("keys", error)
}

fn unanswered(error: ClientError) -> Failure {
    let hint = match &error {
        ClientError::Refused {
            status: 401 | 403, ..
        } => Some("HOSTLER_API_KEY must be the server's admin key"),
        ClientError::Unreachable(_) | ClientError::NotOurs { .. } => {
            Some("check HOSTLER_URL, and that the server runs")
        }
        _ => None,
    };
    let failure = Failure::failed("server", error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
