//! Which version of `claude` a session gets, of those in the data directory.

use domain::SessionId;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hosted::Versions;
use runtimes::{Runtimes, RuntimesError, Wanted};

/// For sessions of the API. What is installed meanwhile counts.
pub(crate) struct Installed(pub(crate) Runtimes);

impl Versions for Installed {
    fn choose(&self, wanted: Option<String>) -> BoxFuture<'static, Result<String, String>> {
        let runtimes = self.0.clone();
        async move {
            let wanted = wanted.map(|text| text.parse()).transpose();
            let wanted = wanted.map_err(|error: runtimes::BadVersion| error.to_string())?;
            choose(runtimes, wanted).await.map_err(|error| error.to_string())
        }
        .boxed()
    }
}

/// The version for one more session. It is written into the session, so that what spreads sessions over versions on trial
/// may be any name.
pub(crate) async fn choose(runtimes: Runtimes, wanted: Option<Wanted>) -> Result<String, RuntimesError> {
    let chosen = tokio::task::spawn_blocking(move || {
        let (choice, _) = runtimes.choose(wanted.as_ref(), SessionId::random().as_str())?;
        Ok(choice.version.to_string())
    });
    chosen.await.unwrap_or_else(|error| {
        Err(RuntimesError::File(runtimes::FileError::Stopped {
            reason: error.to_string(),
        }))
    })
}
