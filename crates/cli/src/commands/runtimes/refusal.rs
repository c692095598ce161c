//! What the user can do about what went wrong with a version, where the message does not say it itself.

use runtimes::{
    ChoiceError, DownloadError, FileError, InstallError, NpmError, OfferError, RegistryError, RemoveError,
    ResolveError, RollbackError, RuntimesError, SourceError, StateError, UpgradeError,
};
use std::error::Error;
use terminal::{Exit, Failure};

/// The hint to an error, and whether only the call was wrong.
pub(crate) trait Refusal: Error {
    fn hint(&self, flags: &str) -> String;

    fn is_usage(&self) -> bool {
        false
    }
}

pub(crate) fn refused(error: &impl Refusal, flags: &str) -> Failure {
    let failure = Failure::failed("runtimes", error).hint(error.hint(flags));
    if error.is_usage() {
        Failure {
            exit: Exit::Usage,
            ..failure
        }
    } else {
        failure
    }
}

fn list(flags: &str) -> String {
    format!("hostler runtimes list{flags} has what is installed")
}

fn registry() -> String {
    "without a registry: hostler runtimes install --file PATH takes the archive or the program".to_owned()
}

impl Refusal for RuntimesError {
    fn hint(&self, flags: &str) -> String {
        match self {
            Self::State(error) => error.hint(flags),
            Self::File(error) => error.hint(flags),
            Self::Choice(ChoiceError::NothingInstalled) => format!("hostler runtimes install claude{flags}"),
            Self::Choice(_) | Self::Rollback(RollbackError::Nothing) => list(flags),
        }
    }
}

impl Refusal for StateError {
    fn hint(&self, flags: &str) -> String {
        match self {
            Self::File(error) => error.hint(flags),
            Self::Damaged { .. } | Self::Format { .. } => list(flags),
        }
    }
}

impl Refusal for FileError {
    fn hint(&self, _: &str) -> String {
        "look at the data directory and who it belongs to, or use another: --data DIR".to_owned()
    }
}

impl Refusal for NpmError {
    fn hint(&self, _: &str) -> String {
        registry()
    }
}

impl Refusal for RemoveError {
    fn hint(&self, flags: &str) -> String {
        match self {
            Self::State(error) => error.hint(flags),
            Self::File(error) => error.hint(flags),
            Self::NotInstalled { .. } | Self::Pinned { .. } => list(flags),
            Self::Default { .. } => format!("hostler runtimes pin claude@VERSION{flags}"),
            Self::Canary { .. } => format!("hostler runtimes rollback claude{flags}"),
            Self::InUse { .. } => format!("hostler sessions list{flags} has the sessions"),
        }
    }
}

impl Refusal for ResolveError {
    fn hint(&self, flags: &str) -> String {
        match self {
            Self::Registry(error) => error.hint(flags),
            Self::NoVersion { .. } | Self::NoMatch { .. } | Self::NoTag { .. } | Self::Unpublished { .. } => {
                "hostler runtimes install claude takes the newest".to_owned()
            }
            _ => registry(),
        }
    }
}

impl Refusal for RegistryError {
    fn hint(&self, _: &str) -> String {
        registry()
    }
}

impl Refusal for InstallError {
    fn hint(&self, flags: &str) -> String {
        match self {
            Self::Resolve(error) => error.hint(flags),
            Self::Download(DownloadError::Registry(error)) => error.hint(flags),
            Self::Download(DownloadError::File(error))
            | Self::Source(SourceError::File(error))
            | Self::File(error) => error.hint(flags),
            Self::State(error) => error.hint(flags),
            Self::Source(SourceError::NoVersion { .. }) => {
                "add --version with the version that it is".to_owned()
            }
            Self::Exists { version, .. } => format!("hostler runtimes rm claude@{version}{flags}"),
            _ => list(flags),
        }
    }
}

impl Refusal for OfferError {
    fn hint(&self, flags: &str) -> String {
        match self {
            Self::NotNewer { version, .. } => format!("hostler runtimes pin claude@{version}{flags}"),
            Self::Pinned { .. } => format!("hostler runtimes pin --none{flags}"),
            Self::Major { version, .. } | Self::Prerelease { version } | Self::Refused { version, .. } => {
                format!("hostler runtimes upgrade claude@{version} --now{flags}")
            }
        }
    }
}

impl Refusal for UpgradeError {
    fn hint(&self, flags: &str) -> String {
        match self {
            Self::Resolve(error) => error.hint(flags),
            Self::Install(error) => error.hint(flags),
            Self::Offer(error) => error.hint(flags),
            Self::State(error) => error.hint(flags),
            Self::File(error) => error.hint(flags),
        }
    }
}
