//! What can be asked of them.

use crate::change::decide;
use crate::made::Made;
use crate::versions::NativeAlone;
use crate::{ResourceError, Resources, Versions, urls};
use control::{
    AccessError, BeginError, Control, CreateError, EventStream, Input, Refused, SendError, Update,
};
use domain::{AgentId, EnvironmentId, EventId, SessionId, SessionStatus, WorkspaceId};
use futures_util::{StreamExt as _, TryStreamExt as _};
use std::sync::Arc;
use store::{EventFilter, SessionFilter};
use time::{Duration, OffsetDateTime};
use wire::page::{Listing, Order, Position, TwoWayPage};
use wire::sessions::{AgentInput, Create, Deleted, List, Session, SessionAgent};
use wire::{Event, Invalid, Page, event_input, event_list};

const KIND: &str = "session";
const MICROSECOND: Duration = Duration::microseconds(1);
/// Sessions of a list that are looked at together.
const AT_ONCE: usize = 8;

/// A handle; cheap to clone.
#[derive(Clone)]
pub struct Hosted {
    pub(crate) control: Control,
    resources: Resources,
    pub(crate) versions: Arc<dyn Versions>,
}

/// Why something could not be done with a session.
#[derive(Debug, thiserror::Error)]
pub enum HostedError {
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<store::Error> for HostedError {
    fn from(error: store::Error) -> Self {
        AccessError::from(error).into()
    }
}

impl From<Invalid> for HostedError {
    fn from(invalid: Invalid) -> Self {
        ResourceError::from(invalid).into()
    }
}

impl From<BeginError> for HostedError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Create(error) => error.into(),
            BeginError::Send(error) => error.into(),
        }
    }
}

impl Hosted {
    pub fn new(control: Control, resources: Resources) -> Self {
        Self {
            control,
            resources,
            versions: Arc::new(NativeAlone),
        }
    }

    /// With what is installed besides the native runtime.
    #[must_use]
    pub fn with_versions(self, versions: Arc<dyn Versions>) -> Self {
        Self { versions, ..self }
    }

    /// Whether sandboxes can be made and reached now.
    pub async fn has_backend(&self) -> bool {
        self.control.has_backend().await
    }

    pub async fn create(&self, workspace: &WorkspaceId, create: Create) -> Result<Session, HostedError> {
        let agent = self.agent(workspace, create.agent).await?;
        let environment = self.environment(workspace, &create.environment_id).await?;
        let made = Made {
            agent,
            metadata: create.metadata.unwrap_or_default(),
            budget: create.budget.map(Into::into),
            budgeted: false,
        };
        let runtime = self.runtime(&environment).await?;
        let new = made.session(workspace, &environment, runtime, create.title)?;
        let events = create.initial_events.unwrap_or_default();
        urls::check("initial_events", &events, &new.rules)?;
        let id = if events.is_empty() {
            self.control.create(new).await?
        } else {
            let inputs: Result<_, _> = events.into_iter().map(Input::try_from).collect();
            self.control.begin(new, inputs?).await?.0
        };
        let row = self.control.session(&id).await?;
        self.view(row).await
    }

    async fn agent(&self, workspace: &WorkspaceId, input: AgentInput) -> Result<SessionAgent, HostedError> {
        let reference = match input {
            AgentInput::Id(id) => wire::sessions::AgentReference {
                id,
                ..Default::default()
            },
            AgentInput::Reference(reference) => reference,
        };
        let id: AgentId = named("agent", &reference.id)?;
        let agent = self
            .resources
            .agents()
            .get(workspace, &id, reference.version)
            .await?;
        if agent.archived_at.is_some() {
            return Err(archived("agent", id.as_str()).into());
        }
        Ok(SessionAgent::from(agent).overridden(reference))
    }

    async fn environment(
        &self,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<wire::environments::Environment, HostedError> {
        let id: EnvironmentId = named("environment", id)?;
        let environment = self.resources.environments().get(workspace, &id).await?;
        match environment.archived_at {
            Some(_) => Err(archived("environment", id.as_str()).into()),
            None => Ok(environment),
        }
    }

    pub async fn get(&self, workspace: &WorkspaceId, id: &SessionId) -> Result<Session, HostedError> {
        let row = self.find(workspace, id).await?;
        self.view(row).await
    }

    /// The newest first, unless it is asked for otherwise.
    pub async fn list(
        &self,
        workspace: &WorkspaceId,
        list: List,
    ) -> Result<TwoWayPage<Session>, HostedError> {
        let order = list.order.unwrap_or(Order::Desc);
        let from = latest([list.created_after.map(after), list.created_from]);
        let to = earliest([list.created_before.map(before), list.created_to]);
        let statuses: Vec<&str> = list.statuses.iter().map(|status| status.as_str()).collect();
        let slice = Listing::new("sessions", order)
            .filter("workspace", Some(workspace.to_string()))
            .filter("agent_id", list.agent_id.clone())
            .filter(
                "agent_version",
                list.agent_version.map(|version| version.to_string()),
            )
            .filter("deployment_id", list.deployment_id.clone())
            .filter("memory_store_id", list.memory_store_id.clone())
            .filter("statuses", (!statuses.is_empty()).then(|| statuses.join(",")))
            .filter(
                "include_archived",
                list.include_archived.then(|| "true".to_owned()),
            )
            .filter("created_from", from.map(|at| at.to_string()))
            .filter("created_to", to.map(|at| at.to_string()))
            .two_way_slice(list.page.as_deref(), list.limit)?;
        if list.deployment_id.is_some() || list.memory_store_id.is_some() {
            // There are none that any session could have.
            return Ok(slice.two_way_page(Vec::new(), |_| Position {
                at: 0,
                id: String::new(),
            }));
        }
        let filter = SessionFilter {
            agent_id: list.agent_id,
            agent_version: list.agent_version,
            statuses: list.statuses,
            include_archived: list.include_archived,
            created_from: from,
            created_to: to,
        };
        let store = self.control.store();
        let found = store.hosted_sessions(workspace, &filter, &slice).await?;
        let page = slice.two_way_page(found, store::hosted::position);
        let data: Vec<Session> = futures_util::stream::iter(page.data)
            .map(|row| self.view(row))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(TwoWayPage {
            data,
            next_page: page.next_page,
            prev_page: page.prev_page,
        })
    }

    pub async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &SessionId,
        update: wire::sessions::Update,
    ) -> Result<Session, HostedError> {
        let row = self.find(workspace, id).await?;
        open_for_changes(&row)?;
        let spent = self.control.store().model_call_sums(id).await?;
        let decide = Box::new(move |row: &store::Session| decide(row, update, spent.cost));
        self.control.update(id, Update { decide }).await?;
        self.get(workspace, id).await
    }

    /// Ends the sandbox; what the session was can be read for as long as it is there.
    pub async fn archive(&self, workspace: &WorkspaceId, id: &SessionId) -> Result<Session, HostedError> {
        let row = self.find(workspace, id).await?;
        if row.archived_at.is_none() {
            self.control.archive(id).await?;
        }
        self.get(workspace, id).await
    }

    pub async fn delete(&self, workspace: &WorkspaceId, id: &SessionId) -> Result<Deleted, HostedError> {
        self.find(workspace, id).await?;
        self.control.delete(id).await?;
        Ok(Deleted { id: id.clone() })
    }

    /// Stores all events or none, and answers them as they are stored.
    pub async fn send(
        &self,
        workspace: &WorkspaceId,
        id: &SessionId,
        sent: event_input::Send,
    ) -> Result<Vec<Event>, HostedError> {
        let row = self.find(workspace, id).await?;
        open_for_changes(&row)?;
        if urls::any(&sent.events) {
            urls::check("events", &sent.events, &control::rules(&row)?)?;
        }
        let inputs: Result<Vec<_>, _> = sent.events.into_iter().map(Input::try_from).collect();
        let stored = self.control.send(id, inputs?).await?;
        Ok(stored.into_iter().map(|logged| logged.event).collect())
    }

    pub async fn events(
        &self,
        workspace: &WorkspaceId,
        id: &SessionId,
        list: event_list::List,
    ) -> Result<Page<Event>, HostedError> {
        self.find(workspace, id).await?;
        let order = list.order.unwrap_or(Order::Asc);
        let from = latest([list.after.map(after), list.from]);
        let to = earliest([list.before.map(before), list.to]);
        let types = (!list.types.is_empty()).then(|| list.types.join(","));
        let slice = Listing::new("events", order)
            .filter("session", Some(id.to_string()))
            .filter("types", types)
            .filter("from", from.map(|at| at.to_string()))
            .filter("to", to.map(|at| at.to_string()))
            .slice(list.page.as_deref(), list.limit.or(Some(event_list::MAX_LIMIT)))?;
        let filter = EventFilter {
            types: list.types,
            from,
            to,
            order,
            after: slice.after.as_ref().map(|after| after.at as u64),
            limit: slice.limit,
        };
        let (found, more) = self.control.store().event_page(id, &filter).await?;
        let page = slice.page_of(found, more, |logged| Position {
            at: logged.seq as i64,
            id: String::new(),
        });
        Ok(page.map(|logged| logged.event))
    }

    /// What comes from now on, or after an event that the client has and names by this parameter.
    pub async fn stream(
        &self,
        workspace: &WorkspaceId,
        id: &SessionId,
        after: Option<(&str, &str)>,
    ) -> Result<EventStream, HostedError> {
        let row = self.find(workspace, id).await?;
        let after = match after {
            None => row.last_seq,
            Some((parameter, event)) => {
                let unknown = || Invalid::new(parameter, "is not the id of an event of this session");
                let event: EventId = event.parse().map_err(|_| unknown())?;
                let seq = self.control.store().event_seq(id, &event).await?;
                seq.ok_or_else(unknown)?
            }
        };
        Ok(self.control.events(id, after).await?)
    }

    /// A session of this workspace; another's is not there.
    async fn find(&self, workspace: &WorkspaceId, id: &SessionId) -> Result<store::Session, HostedError> {
        let row = self.control.session(id).await?;
        match &row.hosting {
            Some(hosting) if hosting.workspace_id == workspace.as_str() => Ok(row),
            _ => Err(ResourceError::not_found(KIND, id.as_str()).into()),
        }
    }
}

/// An id in a body; what is no id is the id of nothing.
fn named<T: std::str::FromStr>(kind: &'static str, id: &str) -> Result<T, ResourceError> {
    id.parse()
        .map_err(|_| ResourceError::not_found(kind, id.chars().take(64).collect::<String>()))
}

fn archived(kind: &'static str, id: &str) -> ResourceError {
    ResourceError::Archived {
        kind,
        id: id.to_owned(),
    }
}

fn open_for_changes(row: &store::Session) -> Result<(), Refused> {
    match row {
        _ if row.archived_at.is_some() => Err(Refused::archived(&row.id)),
        _ if row.status == SessionStatus::Terminated => Err(Refused::terminated(&row.id)),
        _ => Ok(()),
    }
}

/// The first moment after this one that something can be of: times have microseconds, and an end.
fn after(moment: OffsetDateTime) -> OffsetDateTime {
    moment.saturating_add(MICROSECOND)
}

fn before(moment: OffsetDateTime) -> OffsetDateTime {
    moment.saturating_sub(MICROSECOND)
}

fn latest(moments: [Option<OffsetDateTime>; 2]) -> Option<OffsetDateTime> {
    moments.into_iter().flatten().max()
}

fn earliest(moments: [Option<OffsetDateTime>; 2]) -> Option<OffsetDateTime> {
    moments.into_iter().flatten().min()
}
