//! The trait that every backend implements.

use crate::{Error, Report, Spec};
use async_trait::async_trait;
use domain::SandboxId;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Makes and ends sandboxes. All methods may be called at any time and from many tasks; each has its own deadline.
#[async_trait]
pub trait Backend: Send + Sync {
    /// What this backend enforces here.
    async fn report(&self) -> Result<Report, Error>;

    /// A sandbox with its guest running and reachable. On an error nothing is left of it.
    async fn create(&self, spec: &Spec) -> Result<Created, Error>;

    async fn observe(&self, id: &SandboxId) -> Result<Observation, Error>;

    async fn freeze(&self, id: &SandboxId) -> Result<(), Error>;

    async fn thaw(&self, id: &SandboxId) -> Result<(), Error>;

    /// Ends every process and removes everything but the files. Works in every state, also twice.
    async fn destroy(&self, id: &SandboxId) -> Result<(), Error>;

    /// A way to read what a destroyed sandbox changed in its workspace.
    async fn read_changes(&self, id: &SandboxId) -> Result<ChangeReader, Error>;

    /// Removes the files of a destroyed sandbox for good. Works also where there are none.
    async fn remove_files(&self, id: &SandboxId) -> Result<(), Error>;

    /// A running sandbox as it was when it was made, for whoever serves it from now on. Connections go to whoever accepts
    /// them, so the host that served it before has ended, or lets go of its listeners.
    async fn attach(&self, id: &SandboxId) -> Result<Created, Error>;

    /// The sandboxes that are there, whoever made them; [`observe`](Self::observe) tells which of them live.
    async fn survivors(&self) -> Result<Vec<SandboxId>, Error>;
}

/// A sandbox that was just made, or attached to.
#[derive(Debug)]
pub struct Created {
    /// The guest listens here; reconnecting is connecting again.
    pub guest_socket: PathBuf,
    pub listeners: Listeners,
}

/// Sockets bound inside the sandbox's network, to be served from outside it. Stream sockets are listening; all are
/// non-blocking.
#[derive(Debug)]
pub struct Listeners {
    /// `127.0.0.2:80`: the model gateway.
    pub gateway: OwnedFd,
    /// `127.0.0.3:3128`: the HTTP CONNECT and forward proxy.
    pub proxy: OwnedFd,
    /// `127.0.0.53:53`, datagrams.
    pub dns_udp: OwnedFd,
    /// `127.0.0.53:53`, streams.
    pub dns_tcp: OwnedFd,
    /// Transparent egress: `0.0.0.0:80`, `0.0.0.0:443`, then the spec's `egress_ports`. `getsockname()` of an accepted
    /// connection tells the synthetic address; one outside `198.18.0.0/15` was not meant for egress.
    pub transparent: Vec<OwnedFd>,
}

/// What the kernel says of a sandbox, never what the guest says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    pub alive: bool,
    pub frozen: bool,
    pub memory_bytes: Option<u64>,
    pub cpu_micros: Option<u64>,
    pub pids: Option<u64>,
    /// How often the memory limit ended a process.
    pub memory_kills: Option<u64>,
}

/// A guest, without capabilities and in the dead sandbox's user namespace, that serves `/v1/changes` and `/v1/files`
/// below its workspace's upper directory. Ends when dropped.
pub struct ChangeReader {
    pub guest_socket: PathBuf,
    /// Keeps the reader alive.
    pub keep: Box<dyn Send + Sync>,
}
