//! What a toolbox works with: where it stands, where it keeps long output, and the limits of its shell.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Fixed for the life of a [`Toolbox`](crate::Toolbox).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the shell starts and what relative paths are taken from, until the shell changes directory.
    pub cwd: PathBuf,
    /// Named to the model beside `cwd`; it opens nothing and closes nothing.
    pub additional_directories: Vec<PathBuf>,
    /// Holds output too long for the model, and output of background commands. Made when first needed.
    pub tool_results_dir: PathBuf,
    /// The whole environment of the shell: nothing is inherited from this process. `HOSTLER_SHELL` in it names the
    /// shell; else it is the first bash, or sh, in `/bin`, `/usr/bin` and `PATH`.
    pub shell_environment: Vec<(OsString, OsString)>,
    pub bash_default_timeout: Duration,
    pub bash_max_timeout: Duration,
    /// In characters. Longer output is kept in a file, and the model sees its ends.
    pub bash_max_output: usize,
}

impl Settings {
    /// The protocol's limits, and the environment of this process for the shell.
    pub fn new(cwd: impl Into<PathBuf>, tool_results_dir: impl Into<PathBuf>) -> Self {
        Self {
            cwd: cwd.into(),
            additional_directories: Vec::new(),
            tool_results_dir: tool_results_dir.into(),
            shell_environment: std::env::vars_os().collect(),
            bash_default_timeout: Duration::from_mins(2),
            bash_max_timeout: Duration::from_mins(10),
            bash_max_output: 30_000,
        }
    }
}
