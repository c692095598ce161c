//! What an environment may reach. Without a word about it: nothing but the model API.

use crate::Invalid;
use policy::{Rules, RulesError};
use serde::{Deserialize, Serialize};

/// As a client writes it; what is not there is kept, or at first denied.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkingInput {
    Unrestricted,
    Limited {
        #[serde(default)]
        allowed_hosts: Option<Vec<String>>,
        #[serde(default)]
        allow_mcp_servers: Option<bool>,
        #[serde(default)]
        allow_package_managers: Option<bool>,
    },
}

/// Resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Networking {
    /// Every public host, on every port.
    Unrestricted,
    Limited {
        /// Patterns of `policy`.
        allowed_hosts: Vec<String>,
        /// The servers of the agent. No agent has any yet.
        allow_mcp_servers: bool,
        /// Not supported yet: always false.
        allow_package_managers: bool,
    },
}

impl Default for Networking {
    fn default() -> Self {
        Self::Limited {
            allowed_hosts: Vec::new(),
            allow_mcp_servers: false,
            allow_package_managers: false,
        }
    }
}

impl NetworkingInput {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let Self::Limited {
            allowed_hosts,
            allow_package_managers,
            ..
        } = self
        else {
            return Ok(());
        };
        if *allow_package_managers == Some(true) {
            return Err(Invalid::new(
                "allow_package_managers",
                "true is not supported by this server yet: name the registries' hosts in allowed_hosts",
            ));
        }
        let hosts = allowed_hosts.as_deref().unwrap_or_default();
        for (index, host) in hosts.iter().enumerate() {
            Rules::parse([host]).map_err(|error| {
                Invalid::new("", error.to_string())
                    .at(index)
                    .under("allowed_hosts")
            })?;
        }
        Rules::parse(hosts).map_err(|error| Invalid::new("allowed_hosts", error.to_string()))?;
        Ok(())
    }

    pub(super) fn resolve(self, previous: &Networking) -> Networking {
        match (self, previous) {
            (Self::Unrestricted, _) => Networking::Unrestricted,
            (
                Self::Limited {
                    allowed_hosts,
                    allow_mcp_servers,
                    ..
                },
                previous,
            ) => {
                let (hosts, mcp_servers) = match previous {
                    Networking::Unrestricted => (Vec::new(), false),
                    Networking::Limited {
                        allowed_hosts,
                        allow_mcp_servers,
                        ..
                    } => (allowed_hosts.clone(), *allow_mcp_servers),
                };
                Networking::Limited {
                    allowed_hosts: allowed_hosts.unwrap_or(hosts),
                    allow_mcp_servers: allow_mcp_servers.unwrap_or(mcp_servers),
                    allow_package_managers: false,
                }
            }
        }
    }
}

impl Networking {
    pub fn rules(&self) -> Result<Rules, RulesError> {
        match self {
            Self::Unrestricted => Ok(Rules::unrestricted()),
            Self::Limited { allowed_hosts, .. } => Rules::parse(allowed_hosts),
        }
    }
}
