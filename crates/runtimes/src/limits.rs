//! What is taken from outside at the most. A registry is hostile by assumption: it may be wrong, slow or endless.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of what a registry says about one package.
    pub metadata_bytes: usize,
    /// Of a packed archive.
    pub archive_bytes: u64,
    /// Of the executable.
    pub executable_bytes: u64,
    /// From one sign of life to the next: a connection, the head of an answer, a piece of a body.
    pub silence: Duration,
    /// For one description of a package, and for one archive, however steadily they trickle in.
    pub metadata: Duration,
    pub archive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metadata_bytes: 64 << 20,
            archive_bytes: 1 << 30,
            executable_bytes: 2 << 30,
            silence: Duration::from_secs(30),
            metadata: Duration::from_mins(2),
            archive: Duration::from_hours(2),
        }
    }
}
