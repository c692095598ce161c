//! How far an installation is, for whoever shows it.

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The registry is asked for versions.
    Resolving,
    /// Another installation on this machine goes first.
    Waiting,
    /// Bytes that are here, those of earlier attempts included, and bytes that there are, where the registry tells.
    Downloading { done: u64, total: Option<u64> },
    /// The sum over the whole archive.
    Checking,
    /// The executable is written.
    Unpacking,
}

pub trait Progress: Send + Sync {
    /// Called often, and so does not wait.
    fn at(&self, step: Step);
}

/// Shows nothing.
impl Progress for () {
    fn at(&self, _step: Step) {}
}
