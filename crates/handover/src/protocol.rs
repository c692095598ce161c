//! What is said. Both sides are of the same user, and may be of different versions.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In the data directory.
pub(crate) const SOCKET: &str = "server.sock";
pub(crate) const VERSION: u32 = 1;
/// For what is answered at once.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// For the predecessor to let go, and for the successor to start.
pub(crate) const CHANGE: Duration = Duration::from_mins(2);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Take {
    pub(crate) version: u32,
}

/// What the predecessor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// The listeners come beside it.
    Listeners,
    Refused {
        reason: String,
    },
    Released,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serving {}
