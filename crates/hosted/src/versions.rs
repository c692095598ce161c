//! Which version of a runtime a new session gets. Whoever knows what is installed is asked: nothing here looks at files.

use crate::{Hosted, HostedError};
use control::Runtime;
use futures_util::future::BoxFuture;
use wire::Invalid;
use wire::environments::{Environment, RuntimeName};

/// The versions of `claude` that are installed.
pub trait Versions: Send + Sync {
    /// The one for a new session of an environment that asks for this, if it does; or why there is none and what to do
    /// about it, for a client to read.
    fn choose(&self, wanted: Option<String>) -> BoxFuture<'static, Result<String, String>>;
}

/// Of a server that was given no others.
pub(crate) struct NativeAlone;

impl Versions for NativeAlone {
    fn choose(&self, _: Option<String>) -> BoxFuture<'static, Result<String, String>> {
        Box::pin(std::future::ready(Err(
            "this server has no runtime but native: use an environment with that".to_owned(),
        )))
    }
}

impl Hosted {
    pub(crate) async fn runtime(&self, environment: &Environment) -> Result<Runtime, HostedError> {
        let settings = &environment.definition.hostler;
        match settings.runtime {
            RuntimeName::Native => Ok(Runtime::Native),
            RuntimeName::Claude => {
                let chosen = self.versions.choose(settings.runtime_version.clone()).await;
                let version = chosen.map_err(|reason| Invalid::new("environment_id", reason))?;
                Ok(Runtime::Claude { version })
            }
        }
    }
}
