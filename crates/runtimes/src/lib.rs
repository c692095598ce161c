//! The versions of the official `claude` command line that sessions may run on: installing them from the machine's npm
//! registry or from a file, which one a new session gets, and how a newer one takes over or is taken back.
//!
//! ```text
//! DATA/runtimes/claude/2.1.332/claude       the executable, 0555, one for all sandboxes
//!                              about.json   size, when, from where, sum
//!                      state.json           pin, default, canary, what is out of use (`Channel`)
//!                      partial/, making/    downloads and versions that are not whole yet
//!                      install.lock, state.lock
//! ```
//!
//! Nothing here starts `claude`, and no registry's address is built in. What decides is in `channel`, which is pure; what
//! comes from a registry or an archive is bounded and checked before it gets a name.

mod archive;
mod channel;
mod credentials;
mod download;
mod file;
mod install;
mod installed;
mod limits;
mod npm;
mod npmrc;
mod platform;
mod progress;
mod registry;
mod release;
mod runtimes;
mod source;
mod state;
mod version;

pub use archive::ArchiveError;
pub use channel::{
    Canary, Channel, Choice, ChoiceError, OfferError, Reason, RollbackError, RolledBack, Tally, Trial,
    Verdict,
};
pub use download::DownloadError;
pub use file::FileError;
pub use install::{InstallError, Installation};
pub use installed::{About, InstalledError, Origin};
pub use limits::Limits;
pub use npm::{NpmConfiguration, NpmError, Surroundings};
pub use platform::{Architecture, ExecutableError, Libc, Platform};
pub use progress::{Progress, Step};
pub use registry::{Place, Registry, RegistryError};
pub use release::ResolveError;
pub use runtimes::{Holders, How, Listed, RemoveError, Runtimes, RuntimesError, UpgradeError, Upgraded};
pub use source::SourceError;
pub use state::StateError;
pub use version::{BadVersion, Version, Wanted};
