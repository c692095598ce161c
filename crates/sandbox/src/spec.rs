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
    /// A destroyed sandbox whose files become this one's: its changes to the workspace, its home, all it wrote. They stop
    /// being the old one's when this one is there; where making it fails, the old one has them still. The disk keeps the
    /// size it has. One that has left none is [not found](crate::Error::NotFound). After [`BackendLost`](crate::Error::BackendLost) one of the two has them, and the same request works
    /// again, also under a new id.
    #[serde(default)]
    pub files_from: Option<SandboxId>,
    /// Seen, read-only, at `/.hostler/runtime`.
    #[serde(default)]
    pub runtime: Option<Runtime>,
}

/// One installed version of a program that plays the agent. Sandboxes share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Like `claude`.
    pub name: String,
    /// As its directory is called.
    pub version: String,
}

/// A directory of the host, seen as a copy-on-write view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Absolute and without symlinks.
    pub path: PathBuf,
    /// Absolute paths below it that the agent must not see (the data directory).
    pub masked: Vec<PathBuf>,
}
