//! What the guest is started with.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

#[derive(Debug)]
pub struct Config {
    /// A Unix socket that listens already. The agent has no way to reach it.
    pub listener: OwnedFd,
    /// An empty file without a name that only the guest holds: output that is not acknowledged spills into it. Without
    /// one, only what fits into memory is kept before a process must wait.
    pub outbox: Option<OwnedFd>,
    /// Programs run and files are reached as this user, if the guest is root of its user namespace. Otherwise as the
    /// guest's own.
    pub agent_uid: u32,
    pub agent_gid: u32,
    /// Where a program starts if `default_cwd` is no directory.
    pub agent_home: String,
    /// Where a program starts unless its `cwd` says otherwise, and what relative file paths are relative to.
    pub default_cwd: String,
    /// Makes this a reader: it serves the changes and files below this directory, read-only, and starts nothing.
    pub changes_root: Option<PathBuf>,
}
