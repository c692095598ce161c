//! A machine without sandboxes: sessions are there, and nothing runs.

use async_trait::async_trait;
use control::{Attachment, Grant, Network, NetworkError};
use domain::{SandboxId, SessionId};
use sandbox::{Backend, ChangeReader, Created, Error, Listeners, Observation, Report, Spec};

pub enum NoSandbox {
    /// It is said at once that there are none.
    Refused,
    /// One that is asked for never comes.
    Awaited,
}

fn none(id: &SandboxId) -> Error {
    Error::NotFound { id: id.clone() }
}

#[async_trait]
impl Backend for NoSandbox {
    async fn report(&self) -> Result<Report, Error> {
        Ok(Report { aspects: Vec::new() })
    }

    async fn create(&self, _: &Spec) -> Result<Created, Error> {
        match self {
            Self::Refused => Err(Error::Unsupported {
                missing: "sandboxes".to_owned(),
            }),
            Self::Awaited => std::future::pending().await,
        }
    }

    async fn attach(&self, id: &SandboxId) -> Result<Created, Error> {
        Err(none(id))
    }

    async fn survivors(&self) -> Result<Vec<SandboxId>, Error> {
        Ok(Vec::new())
    }

    async fn observe(&self, id: &SandboxId) -> Result<Observation, Error> {
        Err(none(id))
    }

    async fn freeze(&self, id: &SandboxId) -> Result<(), Error> {
        Err(none(id))
    }

    async fn thaw(&self, id: &SandboxId) -> Result<(), Error> {
        Err(none(id))
    }

    async fn destroy(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn read_changes(&self, id: &SandboxId) -> Result<ChangeReader, Error> {
        Err(none(id))
    }

    async fn remove_files(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }
}

pub struct NoNetwork;

#[async_trait]
impl Network for NoNetwork {
    async fn attach(
        &self,
        _: &SessionId,
        _: Grant,
        _: Listeners,
    ) -> Result<Box<dyn Attachment>, NetworkError> {
        Err(NetworkError {
            reason: "there is none".to_owned(),
        })
    }
}
