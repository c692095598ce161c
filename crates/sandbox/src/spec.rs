//! What a sandbox shall be.

use domain::{Limits, SandboxId};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub id: SandboxId,
    pub limits: Limits,
    /// Seen at `/workspace`; without one the agent has an empty directory there.
    pub workspace: Option<Workspace>,
    /// TCP ports, besides 80 and 443, on which the transparent egress listener is wanted (at most 2).
    pub egress_ports: Vec<u16>,
    /// A destroyed sandbox whose files this one goes on with; they are not the old one's any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_from: Option<SandboxId>,
}

/// A directory of the host, seen as a copy-on-write view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Absolute and without symlinks.
    pub path: PathBuf,
    /// Absolute paths below it that the agent must not see (the data directory).
    pub masked: Vec<PathBuf>,
}
