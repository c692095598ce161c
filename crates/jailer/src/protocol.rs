//! What the server asks of the jailer, and what it answers.
//!
//! ```text
//! server --> jailer   Hello (once), then Envelope<Request>, any number at once
//! jailer --> server   Welcome (once), then Envelope<Reply>, in the order in which they are done
//! ```
//!
//! There are two forms. A *child* serves the channel that it was started with; when the server closes it, the jailer
//! destroys every sandbox, keeps their files, and ends. A *service* listens on `DATA/jailer.sock` and keeps every
//! sandbox when its server goes. It serves one server at a time, the newest: an upgrade has two for a moment. The older
//! one is told so with [`Reply::TakenOver`] under number 0 and closed; what it had asked for and was not told of yet is
//! undone. Only [`Request::Stop`] ends a service.
//!
//! Descriptors travel with the message they belong to, in the order its fields say.
//!
//! Both sides say their version and speak the lower one; they may be one apart. A request that the jailer does not know
//! is answered with [`FailureKind::Request`].

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of this protocol. Since version 2: services, [`Spec::files_from`]; since 3: [`Spec::runtime`].
pub const VERSION: u32 = 3;
/// The first version with [`Spec::runtime`]: one before it does not see it.
pub const RUNTIMES_SINCE: u32 = 3;

/// Where a service listens, below its data directory.
pub const SOCKET: &str = "jailer.sock";

/// Whether this side can talk with one of that version.
pub fn speaks(version: u32) -> bool {
    version.abs_diff(VERSION) <= 1
}

/// The first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    /// Names the instance's cgroups: lower-case letters, digits, `_`. A service has a name of its own.
    pub instance: String,
    /// Absolute. The caller holds its lock. A service has its own.
    pub data: PathBuf,
    /// The root of the `host` image, absolute. A service has its own.
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
    /// Of the jailer; the first one did not say it.
    #[serde(default = "first")]
    pub version: u32,
    pub findings: Vec<Finding>,
    /// Why there can be no sandboxes here at all.
    pub refused: Option<String>,
}

fn first() -> u32 {
    1
}

impl Welcome {
    pub fn refusal(reason: String) -> Self {
        Self {
            version: VERSION,
            findings: Vec::new(),
            refused: Some(reason),
        }
    }
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
    /// Serves what a destroyed sandbox changed; ended by destroying the reader's own id, or with the client.
    ReadChanges {
        id: String,
        reader: String,
    },
    RemoveFiles {
        id: String,
    },
    /// Gives a running sandbox out again: answered as its creation was.
    Attach {
        id: String,
    },
    /// The ids of running sandboxes in order, a page at a time: those behind `after`.
    List {
        after: Option<String>,
    },
    /// Undoes a creation whose answer was lost: the sandbox goes with its files, and those it took from another go back
    /// to that one. Nothing there is fine.
    Discard {
        id: String,
    },
    /// Destroys every sandbox, keeps their files, and ends the service.
    Stop,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub id: String,
    pub limits: Limits,
    pub workspace: Option<Workspace>,
    pub egress_ports: Vec<u16>,
    /// A destroyed sandbox, whose files become this one's. The disk keeps the size it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_from: Option<String>,
    /// A directory of programs, seen read-only at `/.hostler/runtime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
}

/// What lies at `DATA/runtimes/NAME/VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    pub name: String,
    pub version: String,
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
    Sandboxes {
        ids: Vec<String>,
        /// There is another page.
        more: bool,
    },
    Done,
    Failed {
        kind: FailureKind,
        step: String,
        reason: String,
    },
    /// Another server has come. Nothing follows.
    TakenOver,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_version_one_says_is_understood() {
        let spec = r#"{"create":{"id":"sbx_1","limits":{"cpu_millis":1,"memory_bytes":1,"disk_bytes":1,"pids":1},
            "workspace":null,"egress_ports":[]}}"#;
        let Request::Create(spec) = serde_json::from_str(spec).unwrap() else {
            panic!("not a creation");
        };
        assert_eq!(spec.files_from, None);
        let welcome: Welcome = serde_json::from_str(r#"{"findings":[],"refused":null}"#).unwrap();
        assert_eq!(welcome.version, 1);
    }

    #[test]
    fn a_neighbouring_version_is_spoken_to_and_a_distant_one_is_not() {
        assert!(speaks(VERSION) && speaks(VERSION - 1) && speaks(VERSION + 1));
        assert!(!speaks(VERSION + 2) && !speaks(VERSION - 2));
    }
}
