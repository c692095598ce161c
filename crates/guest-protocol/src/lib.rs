//! What the host and the guest (process 1 of a sandbox) say to each other: HTTP/1.1 with JSON over a Unix socket,
//! so that `curl --unix-socket` can debug it.
//!
//! ```text
//! GET    /v1/health                                    Health
//! GET    /v1/stats                                     Stats
//! POST   /v1/processes                 Spawn        -> Process        (same id again: the process that is there)
//! GET    /v1/processes                                 [Process]
//! GET    /v1/processes/{id}                            Process
//! POST   /v1/processes/{id}/signal     Signal       -> {}
//! POST   /v1/processes/{id}/resize     TerminalSize -> {}
//! POST   /v1/processes/{id}/input?seq=N[&eof=true]  raw bytes -> InputAck   (a number seen before is dropped)
//! GET    /v1/processes/{id}/output?after=N[&follow=true]   OutputRecord per line, then waits for more
//! POST   /v1/processes/{id}/ack        Ack          -> {}
//! DELETE /v1/processes/{id}                            {}             (kills the group, forgets the output)
//! GET    /v1/files?path=P[&offset=N][&limit=N]         raw bytes
//! PUT    /v1/files?path=P[&mode=0644]               raw bytes -> {}   (atomic: temporary file and rename)
//! DELETE /v1/files?path=P                              {}
//! GET    /v1/files/list?path=P                         [FileEntry]
//! GET    /v1/changes                                   Change per line (only in a change-set reader)
//! ```
//!
//! Errors are `{"error":{"kind","message"}}` with a matching status. The host parses all of this as hostile input:
//! every line and body read by [`client`] has a limit.

pub mod change;
pub mod client;
pub mod error;
pub mod file;
pub mod process;

pub use change::{Change, ChangeKind};
pub use client::{Client, ClientError};
pub use error::{ErrorBody, ErrorKind};
pub use file::FileEntry;
pub use process::{
    Ack, Data, Exit, Framing, InputAck, OutputRecord, Payload, Process, ProcessState, Signal, Spawn, Stdio,
    Stream, TerminalSize,
};

use serde::{Deserialize, Serialize};

/// The version of this protocol. A host drives a guest of its own version or of the one before.
pub const VERSION: u32 = 1;

/// The longest output record's data, in bytes: longer lines are cut and marked. A whole record, escaped, always stays
/// under [`MAX_RECORD_BYTES`].
pub const MAX_DATA_BYTES: usize = 4 << 20;

/// The longest line of NDJSON that a client accepts from a guest.
pub const MAX_RECORD_BYTES: usize = 32 << 20;

/// Output that was not acknowledged yet and that the guest keeps for one process; beyond it the process waits.
pub const MAX_UNACKNOWLEDGED_BYTES: u64 = 64 << 20;

/// What `GET /v1/health` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// See [`VERSION`].
    pub version: u32,
    pub processes: u32,
}

/// What `GET /v1/stats` answers. From inside the sandbox, so a claim and not a measurement: limits and prices use the
/// host's own numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    pub processes: u32,
    /// Resident bytes of the guest itself.
    pub guest_resident_bytes: u64,
    /// Of the file system that `/` is on.
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
    pub uptime_ms: u64,
}
