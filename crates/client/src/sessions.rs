//! `/v1/sessions` and their events. What is listed or streamed is given as the server wrote it: a server may be newer than
//! its client.

use crate::path::Path;
use crate::records::Records;
use crate::{Client, ClientError};
use domain::{AgentId, EventId, SessionId, SessionStatus};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::page::Order;
use wire::{Body, Page};

/// JSON as the server wrote it.
pub type Raw = Box<RawValue>;

/// Which sessions.
#[derive(Debug, Clone, Default)]
pub struct SessionQuery {
    pub agent: Option<AgentId>,
    /// All if empty.
    pub statuses: Vec<SessionStatus>,
    pub include_archived: bool,
    /// Of a page.
    pub limit: usize,
}

/// Which events of a session.
#[derive(Debug, Clone)]
pub struct EventQuery {
    /// All if empty.
    pub types: Vec<String>,
    pub order: Order,
    /// Of a page.
    pub limit: usize,
}

#[derive(Serialize)]
struct Send<'a> {
    events: &'a [Body],
}

#[derive(Deserialize)]
struct Sent {
    data: Vec<Raw>,
}

impl Client {
    /// The newest first; `page` is what the page before it calls the next one.
    pub async fn sessions(&self, query: &SessionQuery, page: Option<&str>) -> Result<Page<Raw>, ClientError> {
        let path = Path::new("/v1/sessions")
            .with("limit", query.limit)
            .with_some("agent_id", query.agent.as_ref())
            .with_all("statuses[]", &query.statuses)
            .with_some("include_archived", query.include_archived.then_some(true))
            .with_some("page", page);
        self.get(path.as_str()).await
    }

    pub async fn session(&self, id: &SessionId) -> Result<Raw, ClientError> {
        self.get(&format!("/v1/sessions/{id}")).await
    }

    pub async fn delete_session(&self, id: &SessionId) -> Result<(), ClientError> {
        let _: Raw = self.delete(&format!("/v1/sessions/{id}")).await?;
        Ok(())
    }

    pub async fn events(
        &self,
        id: &SessionId,
        query: &EventQuery,
        page: Option<&str>,
    ) -> Result<Page<Raw>, ClientError> {
        let order = match query.order {
            Order::Asc => "asc",
            Order::Desc => "desc",
        };
        let path = Path::new(format!("/v1/sessions/{id}/events"))
            .with("limit", query.limit)
            .with("order", order)
            .with_all("types[]", &query.types)
            .with_some("page", page);
        self.get(path.as_str()).await
    }

    /// All or none; the answer has them as they are stored.
    pub async fn send(&self, id: &SessionId, events: &[Body]) -> Result<Vec<Raw>, ClientError> {
        let sent: Sent = self
            .post(&format!("/v1/sessions/{id}/events"), &Send { events })
            .await?;
        Ok(sent.data)
    }

    /// What comes after an event, or from now on.
    pub async fn follow(&self, id: &SessionId, after: Option<&EventId>) -> Result<Records, ClientError> {
        let after = after.map(EventId::as_str);
        self.open_stream(&format!("/v1/sessions/{id}/events/stream"), after)
            .await
    }
}
