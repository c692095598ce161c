//! `hostler` of an environment: what a sandbox of it is given, where the Managed Agents API has no field for it.

use crate::{Invalid, Patch};
use domain::limits::Size as ParsedSize;
use domain::{LimitError, Limits};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Variables that hostler sets itself; a sandbox does not work without them.
const RESERVED: [&str; 10] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "IS_SANDBOX",
    "CLAUDE_CONFIG_DIR",
];
const RESERVED_PREFIXES: [&str; 2] = ["ANTHROPIC_", "HOSTLER_"];
/// Of all variables, names and values together: one of them must fit into one string of `execve` (128 KiB), and all of
/// them, with each byte escaped in JSON, into a request to a guest (1 MiB).
const ENV_BYTES: usize = 96 << 10;

/// Resolved: every default is written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// CPUs, in thousandths precise.
    pub cpus: f64,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub disk: u64,
    pub pids: u32,
    pub runtime: RuntimeName,
    /// Which versions of the runtime will do, as npm writes them; nothing where that is the server's choice.
    #[serde(default)]
    pub runtime_version: Option<String>,
    pub mode: Mode,
    pub env: BTreeMap<String, String>,
}

/// Which program plays the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeName {
    /// `hostler-agent`, which is as old as the server.
    #[default]
    Native,
    /// The official `claude` program, in a version that is installed.
    Claude,
}

/// How long a sandbox stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A sandbox is made when the session is given something to do, and can be made again from what was stored.
    #[default]
    Hybrid,
}

/// Bytes, as a number or as people write it: `512M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

#[derive(Debug, Clone, Default, Deserialize)]
pub struct SettingsInput {
    #[serde(default)]
    cpus: Option<f64>,
    #[serde(default)]
    memory: Option<Size>,
    #[serde(default)]
    disk: Option<Size>,
    #[serde(default)]
    pids: Option<u32>,
    #[serde(default)]
    runtime: Option<RuntimeName>,
    #[serde(default)]
    runtime_version: Option<String>,
    #[serde(default)]
    env: Option<BTreeMap<String, String>>,
}

/// `null` takes a field back to its default.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SettingsPatch {
    #[serde(default)]
    cpus: Patch<f64>,
    #[serde(default)]
    memory: Patch<Size>,
    #[serde(default)]
    disk: Patch<Size>,
    #[serde(default)]
    pids: Patch<u32>,
    #[serde(default)]
    runtime: Patch<RuntimeName>,
    #[serde(default)]
    runtime_version: Patch<String>,
    #[serde(default)]
    env: Patch<BTreeMap<String, String>>,
}

impl From<&Limits> for Settings {
    fn from(limits: &Limits) -> Self {
        Self {
            cpus: f64::from(limits.cpu_millis) / 1000.0,
            memory: limits.memory_bytes,
            disk: limits.disk_bytes,
            pids: limits.pids,
            runtime: RuntimeName::default(),
            runtime_version: None,
            mode: Mode::default(),
            env: BTreeMap::new(),
        }
    }
}

impl Settings {
    pub fn limits(&self) -> Limits {
        Limits {
            cpu_millis: (self.cpus * 1000.0).round() as u32,
            memory_bytes: self.memory,
            disk_bytes: self.disk,
            pids: self.pids,
        }
    }

    /// What the two say together.
    pub(super) fn check_runtime(&self) -> Result<(), Invalid> {
        match (self.runtime, &self.runtime_version) {
            (RuntimeName::Native, Some(_)) => Err(Invalid::new(
                "runtime_version",
                "the native runtime has the server's own version: leave it out, or set runtime to claude",
            )),
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        self.limits().validate().map_err(|error| {
            let field = match &error {
                LimitError::Range { name, .. } => match *name {
                    "cpu_millis" => "cpus",
                    "memory_bytes" => "memory",
                    "disk_bytes" => "disk",
                    other => other,
                },
                LimitError::Cpus { .. } => "cpus",
                LimitError::Size { .. } => "",
            };
            Invalid::new(field, error.to_string())
        })?;
        self.runtime_version.as_deref().map_or(Ok(()), check_version)?;
        self.env.keys().try_for_each(|name| check_variable(name))?;
        let bytes: usize = self
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > ENV_BYTES {
            let problem =
                format!("has {bytes} bytes of names and values, and at most {ENV_BYTES} can be given");
            return Err(Invalid::new("env", problem));
        }
        Ok(())
    }
}

/// The server that chooses reads it more closely.
fn check_version(version: &str) -> Result<(), Invalid> {
    let fits = |c: char| c.is_ascii_alphanumeric() || " .-+_<>=^~|*".contains(c);
    if !version.trim().is_empty() && version.chars().all(fits) {
        return Ok(());
    }
    let problem = "is no version: write 2.1.330, or a range of npm like ^2.1 or >=2 <3";
    Err(Invalid::new("runtime_version", problem))
}

fn check_variable(name: &str) -> Result<(), Invalid> {
    let upper = name.to_ascii_uppercase();
    let reserved = RESERVED.contains(&upper.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
    let begins_well = name
        .chars()
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let is_name = begins_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let problem = if !is_name {
        "is not the name of a variable: use letters, digits and _, and no digit first"
    } else if reserved {
        "is set by hostler itself and cannot be given"
    } else {
        return Ok(());
    };
    Err(Invalid::new("", problem).under(name).under("env"))
}

impl SettingsInput {
    /// What is not said is as it usually is.
    pub(super) fn settings(self, usual: &Limits) -> Settings {
        let usual = Settings::from(usual);
        Settings {
            cpus: self.cpus.map_or(usual.cpus, in_thousandths),
            memory: self.memory.map_or(usual.memory, |size| size.0),
            disk: self.disk.map_or(usual.disk, |size| size.0),
            pids: self.pids.unwrap_or(usual.pids),
            runtime: self.runtime.unwrap_or_default(),
            runtime_version: self.runtime_version,
            env: self.env.unwrap_or_default(),
            ..usual
        }
    }
}

/// What is answered is what is enforced.
fn in_thousandths(cpus: f64) -> f64 {
    (cpus * 1000.0).round() / 1000.0
}

impl SettingsInput {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let settings = self.clone().settings(&Limits::default());
        settings.check()?;
        settings.check_runtime()
    }
}

impl SettingsPatch {
    /// Each field is checked by itself, so what it is applied to does not matter.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let usual = Limits::default();
        let mut settings = Settings::from(&usual);
        self.clone().apply(&mut settings, &usual);
        settings.check()
    }

    /// `usual` is what a field goes back to.
    pub(super) fn apply(self, settings: &mut Settings, usual: &Limits) {
        let default = Settings::from(usual);
        self.cpus.apply_or(&mut settings.cpus, default.cpus);
        settings.cpus = in_thousandths(settings.cpus);
        self.memory.bytes().apply_or(&mut settings.memory, default.memory);
        self.disk.bytes().apply_or(&mut settings.disk, default.disk);
        self.pids.apply_or(&mut settings.pids, default.pids);
        self.runtime.apply_or(&mut settings.runtime, default.runtime);
        self.runtime_version.apply(&mut settings.runtime_version);
        self.env.apply_or(&mut settings.env, default.env);
    }
}

impl Patch<Size> {
    fn bytes(self) -> Patch<u64> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(size) => Patch::Set(size.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => {
                let size: ParsedSize = text.parse().map_err(serde::de::Error::custom)?;
                Ok(Self(size.0))
            }
        }
    }
}
