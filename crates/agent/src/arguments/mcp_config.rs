//! `{"mcpServers": {…}}` as the SDKs write it: which of the servers in it are the host's own, and why the rest is
//! refused.

use serde_json::Value;

/// A server that only the official command line could start or reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the MCP server '{name}' is of type '{kind}', and only servers of type 'sdk', inside the host, can be reached"
)]
pub struct Foreign {
    pub(crate) name: String,
    pub(crate) kind: String,
}

/// The names of the servers in an object of configurations.
pub(crate) fn names(servers: &Value) -> Result<Vec<String>, Foreign> {
    let mut names = Vec::new();
    for (name, config) in servers.as_object().into_iter().flatten() {
        // A configuration that names no type starts a program.
        match config["type"].as_str().unwrap_or("stdio") {
            "sdk" => names.push(name.clone()),
            kind => {
                return Err(Foreign {
                    name: name.clone(),
                    kind: kind.chars().take(50).collect(),
                });
            }
        }
    }
    Ok(names)
}
