//! MCP servers that live inside the host, reached over the control channel.
//!
//! ```text
//!   declare -> Pending --connect--> Connected   its tools are offered to the model as mcp__<server>__<tool>
//!                         |
//!                         +-------> Failed      said in the init frame and by mcp_status; the session goes on
//! ```
//!
//! Servers are greeted once, all together and before the first turn, within a deadline. A call has none: the host
//! may ask a person, who may take days.

mod call;
mod connect;
mod exchange;

pub(crate) use call::call;
pub(crate) use connect::connect;

use crate::model::ToolDefinition;
use crate::session::{Runner, Tool};
use agent_tools::{Concurrency, Kind};
use mcp::ServerInfo;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use stream_json::{Extra, McpServer};

/// More than any honest host declares.
const MAX_SERVERS: usize = 64;
const MAX_NAME: usize = 128;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeclareError {
    #[error("{name:?} is not a name that an MCP server can have")]
    BadName { name: String },
    #[error("more than {MAX_SERVERS} MCP servers are declared")]
    TooMany,
}

enum Status {
    Pending,
    Connected {
        info: ServerInfo,
        tools: Vec<mcp::Tool>,
        /// What of it cannot be used.
        complaint: Option<String>,
    },
    Failed {
        reason: String,
    },
}

struct Server {
    name: String,
    status: Status,
}

/// The tool of a server, as a call must name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) server: String,
    pub(crate) tool: String,
}

#[derive(Default)]
pub(crate) struct Servers {
    list: RefCell<Vec<Server>>,
    /// The tools of all connected servers, in the order of their declaration.
    tools: RefCell<Vec<Rc<Tool>>>,
    next_id: Cell<u64>,
}

impl Servers {
    /// Adds servers; one that is declared twice is one.
    pub(crate) fn declare(&self, names: &[String]) -> Result<(), DeclareError> {
        let mut list = self.list.borrow_mut();
        for name in names {
            if name.is_empty() || name.len() > MAX_NAME {
                let name = name.chars().take(MAX_NAME).collect();
                return Err(DeclareError::BadName { name });
            }
            if list.iter().any(|server| server.name == *name) {
                continue;
            }
            if list.len() >= MAX_SERVERS {
                return Err(DeclareError::TooMany);
            }
            list.push(Server {
                name: name.clone(),
                status: Status::Pending,
            });
        }
        Ok(())
    }

    /// Those that have not been greeted yet.
    pub(crate) fn pending(&self) -> Vec<String> {
        self.list
            .borrow()
            .iter()
            .filter(|server| matches!(server.status, Status::Pending))
            .map(|server| server.name.clone())
            .collect()
    }

    pub(crate) fn has_pending(&self) -> bool {
        let list = self.list.borrow();
        list.iter().any(|server| matches!(server.status, Status::Pending))
    }

    pub(crate) fn tools(&self) -> Vec<Rc<Tool>> {
        self.tools.borrow().clone()
    }

    fn settle(&self, name: &str, status: Status) {
        let mut list = self.list.borrow_mut();
        let Some(server) = list.iter_mut().find(|server| server.name == name) else {
            return;
        };
        server.status = status;
        let tools = list.iter().flat_map(offered).map(Rc::new).collect();
        *self.tools.borrow_mut() = tools;
    }

    fn next_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    /// As the init frame lists them.
    pub(crate) fn listed(&self) -> Vec<McpServer> {
        let source = || Extra::from_iter([("source".to_owned(), json!("sdk"))]);
        self.list
            .borrow()
            .iter()
            .map(|server| McpServer {
                name: server.name.clone(),
                status: server.status.name().to_owned(),
                extra: source(),
            })
            .collect()
    }

    /// As `mcp_status` answers.
    pub(crate) fn described(&self) -> Value {
        self.list.borrow().iter().map(described).collect()
    }
}

impl Status {
    fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Connected { .. } => "connected",
            Self::Failed { .. } => "failed",
        }
    }
}

fn offered(server: &Server) -> Vec<Tool> {
    let Status::Connected { tools, .. } = &server.status else {
        return Vec::new();
    };
    let offer = |tool: &mcp::Tool| Tool {
        definition: ToolDefinition {
            name: tool.qualified.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema.clone(),
        },
        kind: Kind::Execute,
        concurrency: Concurrency::Safe,
        runner: Runner::Server(Address {
            server: server.name.clone(),
            tool: tool.name.clone(),
        }),
    };
    tools.iter().map(offer).collect()
}

fn described(server: &Server) -> Value {
    let mut entry = json!({
        "name": server.name,
        "status": server.status.name(),
        "transport": "sdk",
        "scope": "dynamic",
        "source": "sdk",
    });
    match &server.status {
        Status::Pending => {}
        Status::Failed { reason } => entry["error"] = json!(reason),
        Status::Connected {
            info,
            tools,
            complaint,
        } => {
            entry["serverInfo"] = json!({"name": info.name, "version": info.version});
            entry["tools"] = tools.iter().map(described_tool).collect();
            if let Some(complaint) = complaint {
                entry["error"] = json!(complaint);
            }
        }
    }
    entry
}

fn described_tool(tool: &mcp::Tool) -> Value {
    let hints = [
        ("readOnly", tool.read_only),
        ("destructive", tool.destructive),
        ("openWorld", tool.open_world),
    ];
    let annotations: Extra = hints
        .into_iter()
        .filter_map(|(name, hint)| Some((name.to_owned(), json!(hint?))))
        .collect();
    json!({"name": tool.name, "description": tool.description, "annotations": annotations})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_declared_once_and_bounded() {
        let servers = Servers::default();
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        servers.declare(&names(&["a", "b"])).unwrap();
        servers.declare(&names(&["b", "c"])).unwrap();
        assert_eq!(servers.pending(), ["a", "b", "c"]);
        assert!(matches!(
            servers.declare(&names(&[""])),
            Err(DeclareError::BadName { .. })
        ));
        assert!(servers.declare(&["x".repeat(MAX_NAME + 1)]).is_err());
        let many: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
        assert!(matches!(servers.declare(&many), Err(DeclareError::TooMany)));
        assert_eq!(servers.pending().len(), MAX_SERVERS);
    }
}
