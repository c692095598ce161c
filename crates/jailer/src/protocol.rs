//! What the server asks of the jailer, and what it answers.
//!
//! ```text
//! server --> jailer   Hello (once), then Envelope<Request>, any number at once
//! jailer --> server   Welcome (once), then Envelope<Reply>, in the order in which they are done
//! ```
//!
//! When the server closes the channel, the jailer destroys every sandbox, keeps their files, and ends.
//!
//! Descriptors travel with the message they belong to, in the order its fields say.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// The first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    pub version: u32,
    /// Names the instance's cgroups: lower-case letters, digits, `_`.
    pub instance: String,
    /// Absolute. The caller holds its lock.
    pub data: PathBuf,
    /// The root of the `host` image, absolute.
    pub image: PathBuf,
    /// Shells to keep ready.
    pub shells: u32,
    /// Disks to keep ready.
    pub disks: u32,
    /// The limits that both are made with ahead of demand.
    pub limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub findings: Vec<Finding>,
    /// Why there can be no sandboxes here at all.
    pub refused: Option<String>,
}

/// One aspect of isolation on this machine; the names are those of the sandbox port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub aspect: String,
    pub enforced: bool,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    pub number: u64,
    pub body: T,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Create(Spec),
    Observe {
        id: String,
    },
    Freeze {
        id: String,
    },
    Thaw {
        id: String,
    },
    Destroy {
        id: String,
    },
    /// Serves what a destroyed sandbox changed; ended by destroying the reader's own id.
    ReadChanges {
        id: String,
        reader: String,
    },
    RemoveFiles {
        id: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    pub id: String,
    pub limits: Limits,
    pub workspace: Option<Workspace>,
    pub egress_ports: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub pids: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    pub path: PathBuf,
    pub masked: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// With the listeners: gateway, proxy, DNS datagrams, DNS streams, then the transparent ones.
    Created {
        guest_socket: PathBuf,
    },
    Observed(Observation),
    Done,
    Failed {
        kind: FailureKind,
        step: String,
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request itself is wrong.
    Request,
    /// No such sandbox.
    NotFound,
    /// A step failed; what was built has been taken down.
    Step,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub alive: bool,
    pub frozen: bool,
    pub memory_bytes: Option<u64>,
    pub cpu_micros: Option<u64>,
    pub pids: Option<u64>,
    pub memory_kills: Option<u64>,
}
