//! What the command line takes from its environment, read once.

use std::ffi::OsString;
use std::path::PathBuf;

/// Variables that are unset or empty are nothing.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub api_key: Option<OsString>,
    pub base_url: Option<OsString>,
    pub server_url: Option<OsString>,
    /// The server's admin key.
    pub server_key: Option<OsString>,
    pub listen: Option<OsString>,
    pub data: Option<PathBuf>,
    pub state_home: Option<PathBuf>,
    pub home: Option<PathBuf>,
    /// Set to anything: no colours (<https://no-color.org>).
    pub no_color: bool,
    pub dumb_terminal: bool,
    pub is_root: bool,
}

impl Environment {
    pub fn of_process() -> Self {
        let get = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            api_key: get("ANTHROPIC_API_KEY"),
            base_url: get("ANTHROPIC_BASE_URL"),
            server_url: get("HOSTLER_URL"),
            server_key: get("HOSTLER_API_KEY"),
            listen: get("HOSTLER_LISTEN"),
            data: get("HOSTLER_DATA").map(PathBuf::from),
            state_home: get("XDG_STATE_HOME").map(PathBuf::from),
            home: get("HOME").map(PathBuf::from),
            no_color: get("NO_COLOR").is_some(),
            dumb_terminal: get("TERM").is_some_and(|term| term == "dumb"),
            is_root: rustix::process::geteuid().is_root(),
        }
    }
}
