//! What the command line takes from its environment, read once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variables that are unset or empty are nothing.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub api_key: Option<OsString>,
    pub base_url: Option<OsString>,
    pub server_url: Option<OsString>,
    /// The server's admin key.
    pub server_key: Option<OsString>,
    pub listen: Option<OsString>,
    /// What is logged.
    pub log: Option<OsString>,
    /// The configuration file, which must be there.
    pub config: Option<PathBuf>,
    /// The one that is taken where it is there.
    pub usual_config: Option<PathBuf>,
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
        let home = get("HOME").map(PathBuf::from);
        let is_root = rustix::process::geteuid().is_root();
        Self {
            api_key: get("ANTHROPIC_API_KEY"),
            base_url: get("ANTHROPIC_BASE_URL"),
            server_url: get("HOSTLER_URL"),
            server_key: get("HOSTLER_API_KEY"),
            listen: get("HOSTLER_LISTEN"),
            log: get("HOSTLER_LOG"),
            config: get("HOSTLER_CONFIG").map(PathBuf::from),
            usual_config: usual_config(
                is_root,
                get("XDG_CONFIG_HOME").map(PathBuf::from),
                home.as_deref(),
            ),
            data: get("HOSTLER_DATA").map(PathBuf::from),
            state_home: get("XDG_STATE_HOME").map(PathBuf::from),
            home,
            no_color: get("NO_COLOR").is_some(),
            dumb_terminal: get("TERM").is_some_and(|term| term == "dumb"),
            is_root,
        }
    }
}

/// The specification of XDG says that a relative path there is to be ignored.
fn usual_config(is_root: bool, config_home: Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from("/etc/hostler/hostler.toml"));
    }
    let base = config_home.filter(|base| base.is_absolute());
    let base = base.or_else(|| home.map(|home| home.join(".config")))?;
    Some(base.join("hostler/hostler.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_file_is_the_machine_s_for_root_and_a_user_s_own_for_others() {
        let home = Some(Path::new("/home/u"));
        let table = [
            (true, None, home, Some("/etc/hostler/hostler.toml")),
            (false, Some("/conf"), home, Some("/conf/hostler/hostler.toml")),
            (
                false,
                Some("conf"),
                home,
                Some("/home/u/.config/hostler/hostler.toml"),
            ),
            (false, None, home, Some("/home/u/.config/hostler/hostler.toml")),
            (false, None, None, None),
        ];
        for (is_root, config_home, home, expected) in table {
            let found = usual_config(is_root, config_home.map(PathBuf::from), home);
            assert_eq!(found, expected.map(PathBuf::from));
        }
    }
}
