//! What a backend enforces on this machine, aspect by aspect, with the reason where it does not.

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    Namespaces,
    /// The agent's user and the guest's are different users of the host, unlike any other sandbox's.
    SeparateUsers,
    Network,
    Seccomp,
    Landlock,
    CpuLimit,
    MemoryLimit,
    PidLimit,
    DiskLimit,
    Freeze,
}

impl Aspect {
    pub const ALL: [Self; 10] = [
        Self::Namespaces,
        Self::SeparateUsers,
        Self::Network,
        Self::Seccomp,
        Self::Landlock,
        Self::CpuLimit,
        Self::MemoryLimit,
        Self::PidLimit,
        Self::DiskLimit,
        Self::Freeze,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::SeparateUsers => "separate users",
            Self::Network => "network",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::CpuLimit => "cpu limit",
            Self::MemoryLimit => "memory limit",
            Self::PidLimit => "pid limit",
            Self::DiskLimit => "disk limit",
            Self::Freeze => "freeze",
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    pub aspect: Aspect,
    pub enforced: bool,
    /// By what it is enforced, or why it is not and what would help.
    pub detail: String,
}

/// What a machine can do, as the backend that would use it found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In the order of [`Aspect::ALL`].
    pub aspects: Vec<Enforcement>,
}

impl Report {
    pub fn enforces(&self, aspect: Aspect) -> bool {
        self.aspects
            .iter()
            .any(|found| found.aspect == aspect && found.enforced)
    }

    pub fn missing(&self) -> impl Iterator<Item = &Enforcement> {
        self.aspects.iter().filter(|found| !found.enforced)
    }
}
