//! The greeting of all servers that were declared: each in its own time, none longer than the deadline.

use super::Status;
use super::exchange::{ExchangeError, Open, notify, send};
use crate::session::Session;
use futures_util::future::join_all;
use mcp::{Catalogue, MAX_PAGES, ServerInfo};
use serde_json::Value;
use std::collections::HashSet;
use tokio::time::Instant;

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the server did not answer within {seconds} s (MCP_TIMEOUT changes it)")]
    Late { seconds: f64 },
}

/// Greets every pending server and offers its tools. What fails is the server's status.
pub(crate) async fn connect(session: &Session) {
    let names = session.servers.pending();
    let met = join_all(names.iter().map(|name| meet(session, name))).await;
    let mut taken: HashSet<String> = session
        .base_tools
        .iter()
        .chain(&session.servers.tools())
        .map(|tool| tool.definition.name.clone())
        .collect();
    // In the order of their declaration, so that the same name is the same tool in every run.
    for (name, met) in names.iter().zip(met) {
        let status = match met {
            Ok((info, catalogue)) => {
                let (tools, complaint) = catalogue.finish(&mut taken);
                Status::Connected {
                    info,
                    tools,
                    complaint,
                }
            }
            Err(error) => Status::Failed {
                reason: error.to_string(),
            },
        };
        session.servers.settle(name, status);
    }
}

async fn meet(session: &Session, name: &str) -> Result<(ServerInfo, Catalogue), ConnectError> {
    let deadline = Instant::now() + session.environment.mcp_timeout;
    let servers = &session.servers;
    let hello = mcp::initialize(servers.next_id(), "hostler-agent", env!("CARGO_PKG_VERSION"));
    let info = mcp::server_info(&ask(session, name, hello, deadline).await?);
    notify(session, name, mcp::initialized()).await;
    let mut catalogue = Catalogue::new(session.environment.bare_mcp_names);
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let question = mcp::list_tools(servers.next_id(), cursor.as_deref());
        let page = ask(session, name, question, deadline).await?;
        cursor = catalogue.add_page(name, &page);
        if cursor.is_none() {
            break;
        }
    }
    Ok((info, catalogue))
}

async fn ask(
    session: &Session,
    server: &str,
    message: Value,
    deadline: Instant,
) -> Result<Value, ConnectError> {
    let mut open: Open = send(session, server, message).await?;
    if let Ok(result) = tokio::time::timeout_at(deadline, open.result()).await {
        return Ok(result?);
    }
    open.withdraw(session).await;
    Err(ConnectError::Late {
        seconds: session.environment.mcp_timeout.as_secs_f64(),
    })
}
