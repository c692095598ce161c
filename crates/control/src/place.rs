//! A session's place to run: its sandbox, what serves its network, and the way to its guest.
//!
//! Building it is all or nothing: where a step fails, what was there before it is taken away again.

use crate::CleanupFailure;
use crate::network::{Attachment, Grant};
use crate::record::Record;
use crate::sessions::Parts;
use domain::{Cost, SandboxId, SandboxState};
use guest_protocol::Client;
use std::time::Instant;
use traces::SessionTrace;
use translate::toolset::Toolset;
use uuid::Uuid;

pub(crate) struct Place {
    pub sandbox: SandboxId,
    pub client: Client,
    pub token: String,
    /// As it is recorded.
    pub state: SandboxState,
    /// Whether it is recorded as its session's. One that is not is nobody's if this process dies.
    pub is_recorded: bool,
    attachment: Option<Box<dyn Attachment>>,
    /// How often the memory limit had ended a process when it was last looked at.
    memory_kills: u64,
}

/// A sandbox and the key that it shows the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub sandbox: SandboxId,
    pub token: String,
    /// As it is recorded.
    pub state: SandboxState,
}

impl Address {
    pub(crate) fn random() -> Self {
        let half = || Uuid::new_v4().simple();
        Self {
            sandbox: SandboxId::random(),
            token: format!("hostler-session-{}{}", half(), half()),
            state: SandboxState::Starting,
        }
    }
}

/// What files a sandbox began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// None: the session's first.
    Fresh,
    /// Those of the sandbox before it.
    Kept,
    /// None, where the agent may look for some.
    Lost,
}

/// What a sandbox is built or looked for for.
#[derive(Clone, Copy)]
pub(crate) struct Grounds<'a> {
    pub parts: &'a Parts,
    pub record: &'a Record,
    /// Of the turn that it is for.
    pub tools: Option<&'a Toolset>,
    /// When the session's first message came, where this is for it.
    pub waiting_since: Option<Instant>,
    pub trace: &'a SessionTrace,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("the sandbox could not be started: {0}")]
    Sandbox(#[from] sandbox::Error),
    #[error(transparent)]
    Network(#[from] crate::NetworkError),
    #[error("what the session has spent could not be read: {0}")]
    Store(#[from] store::Error),
}

impl Place {
    /// Builds the sandbox, which is recorded already, on the files that the session has left if it is to keep them.
    pub(crate) async fn build(
        grounds: Grounds<'_>,
        address: Address,
        keeps_files: bool,
    ) -> Result<(Self, Files), PlaceError> {
        let Grounds { parts, record, .. } = grounds;
        let before = if keeps_files {
            before(parts, record, &address.sandbox).await?
        } else {
            Vec::new()
        };
        let none = if before.is_empty() {
            Files::Fresh
        } else {
            Files::Lost
        };
        let mut spec = sandbox::Spec {
            id: address.sandbox.clone(),
            limits: record.row.limits,
            workspace: record.workspace(),
            egress_ports: record.rules.explicit_ports(),
            files_from: None,
            runtime: record.runtime(),
        };
        // One that was recorded and never built has none; those of the one before it are still there.
        for sandbox in before {
            spec.files_from = Some(sandbox);
            match create(parts, &spec).await {
                Ok(created) => {
                    let place = Self::serve(grounds, address, created).await;
                    return Ok((place?, Files::Kept));
                }
                Err(sandbox::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        spec.files_from = None;
        let created = create(parts, &spec).await?;
        let place = Self::serve(grounds, address, created).await;
        Ok((place?, none))
    }

    /// Finds a sandbox that was built by a host before this one.
    pub(crate) async fn find(grounds: Grounds<'_>, address: Address) -> Result<Self, PlaceError> {
        let created = grounds.parts.backend.attach(&address.sandbox).await?;
        Self::serve(grounds, address, created).await
    }

    async fn serve(
        grounds: Grounds<'_>,
        Address {
            sandbox,
            token,
            state,
        }: Address,
        created: sandbox::Created,
    ) -> Result<Self, PlaceError> {
        let Grounds { parts, record, .. } = grounds;
        let session = &record.row.id;
        let spent = parts.store.model_call_sums(session).await;
        let attached = match spent {
            Ok(spent) => {
                let grant = Grant {
                    token: token.clone(),
                    rules: record.rules.clone(),
                    budget: record.settings.max_cost,
                    already_spent: spent.cost,
                    waiting_since: grounds.waiting_since,
                    trace: grounds.trace.clone(),
                    web_search: searches(grounds.tools),
                };
                let attached = parts.network.attach(session, grant, created.listeners).await;
                attached.map_err(PlaceError::from)
            }
            Err(error) => Err(error.into()),
        };
        match attached {
            Ok(attachment) => Ok(Self {
                sandbox,
                client: Client::new(created.guest_socket),
                token,
                state,
                is_recorded: true,
                attachment: Some(attachment),
                memory_kills: 0,
            }),
            Err(error) => {
                tell(&destroy(parts, &sandbox).await);
                Err(error)
            }
        }
    }

    /// The session's hard limit from now on.
    pub(crate) fn set_budget(&self, budget: Option<Cost>) {
        if let Some(attachment) = &self.attachment {
            attachment.set_budget(budget);
        }
    }

    /// Since when somebody waits for the first model call.
    pub(crate) fn wait_since(&self, since: Instant) {
        if let Some(attachment) = &self.attachment {
            attachment.wait_since(since);
        }
    }

    /// The agent's tools from now on.
    pub(crate) fn set_tools(&self, tools: Option<&Toolset>) {
        if let Some(attachment) = &self.attachment {
            attachment.set_web_search(searches(tools));
        }
    }

    /// Ends everything in the sandbox; its files stay, if they are recorded as its session's.
    pub(crate) async fn tear_down(mut self, parts: &Parts) -> Vec<CleanupFailure> {
        // First the processes, so that nothing in them sees its network go.
        let failures = if self.is_recorded {
            destroy(parts, &self.sandbox).await
        } else {
            discard(parts, &self.sandbox).await
        };
        if let Some(attachment) = self.attachment.take() {
            let detached = tokio::time::timeout(parts.settings.deadlines.destroy, attachment.detach()).await;
            if detached.is_err() {
                tracing::warn!(sandbox = %self.sandbox, "the network of a sandbox was not detached in time");
            }
        }
        failures
    }

    /// How often the memory limit ended a process since the last look.
    pub(crate) async fn new_memory_kills(&mut self, parts: &Parts) -> u64 {
        let observed = tokio::time::timeout(
            parts.settings.deadlines.settle,
            parts.backend.observe(&self.sandbox),
        )
        .await;
        let Ok(Ok(sandbox::Observation {
            memory_kills: Some(kills),
            ..
        })) = observed
        else {
            return 0;
        };
        let new = kills.saturating_sub(self.memory_kills);
        self.memory_kills = kills;
        new
    }
}

/// The sandboxes that the session had before this one, the newest first.
async fn before(parts: &Parts, record: &Record, sandbox: &SandboxId) -> Result<Vec<SandboxId>, store::Error> {
    let recorded = parts.store.sandboxes_of(&record.row.id).await?;
    let ids = recorded.into_iter().rev().map(|recorded| recorded.id);
    Ok(ids.filter(|id| id != sandbox).collect())
}

/// Whether the model API may search the web for an agent with these tools. Where nobody chose them it may not: what
/// it asks for leaves the machine.
fn searches(tools: Option<&Toolset>) -> bool {
    tools.is_some_and(Toolset::has_web_search)
}

async fn create(parts: &Parts, spec: &sandbox::Spec) -> Result<sandbox::Created, sandbox::Error> {
    let began = Instant::now();
    let created = parts.backend.create(spec).await;
    let took = began.elapsed();
    match &created {
        Ok(_) => {
            parts.meter.sandbox_started(took);
            tracing::info!(sandbox = %spec.id, took_ms = took.as_millis() as u64, "a sandbox started");
        }
        // There are no files to go on with; others are looked for.
        Err(sandbox::Error::NotFound { .. }) if spec.files_from.is_some() => {}
        Err(error) => {
            parts.meter.sandbox_failed();
            tracing::warn!(sandbox = %spec.id, %error, "a sandbox could not be started");
        }
    }
    created
}

/// Destroys a sandbox, built or not, and records it.
pub(crate) async fn destroy(parts: &Parts, sandbox: &SandboxId) -> Vec<CleanupFailure> {
    let deadline = parts.settings.deadlines.destroy;
    let failure = |step, reason| {
        vec![CleanupFailure {
            sandbox: sandbox.clone(),
            step,
            reason,
        }]
    };
    match tokio::time::timeout(deadline, parts.backend.destroy(sandbox)).await {
        Ok(Ok(()) | Err(sandbox::Error::NotFound { .. })) => {}
        Ok(Err(error)) => return failure("destroying", error.to_string()),
        Err(_) => return failure("destroying", format!("it took longer than {deadline:?}")),
    }
    match parts
        .store
        .set_sandbox_state(sandbox, SandboxState::Destroyed)
        .await
    {
        // One that was made ahead and has had no session yet is recorded nowhere.
        Ok(()) | Err(store::Error::NoSandbox { .. }) => {
            tracing::info!(%sandbox, "a sandbox ended");
            Vec::new()
        }
        Err(error) => failure("recording the end", error.to_string()),
    }
}

/// Destroys a sandbox that no session has taken, built or not, with its files, and forgets it.
pub(crate) async fn discard(parts: &Parts, sandbox: &SandboxId) -> Vec<CleanupFailure> {
    let mut failures = destroy(parts, sandbox).await;
    failures.extend(remove_files(parts, sandbox).await.err());
    // What stays is tried again by the next start.
    if failures.is_empty()
        && let Err(error) = parts.store.remove_spare_sandbox(sandbox).await
    {
        failures.push(CleanupFailure {
            sandbox: sandbox.clone(),
            step: "forgetting",
            reason: error.to_string(),
        });
    }
    failures
}

/// Removes what a destroyed sandbox has left.
pub(crate) async fn remove_files(parts: &Parts, sandbox: &SandboxId) -> Result<(), CleanupFailure> {
    let deadline = parts.settings.deadlines.destroy;
    let removed = tokio::time::timeout(deadline, parts.backend.remove_files(sandbox)).await;
    let reason = match removed {
        Ok(Ok(()) | Err(sandbox::Error::NotFound { .. })) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took longer than {deadline:?}"),
    };
    Err(CleanupFailure {
        sandbox: sandbox.clone(),
        step: "removing the files",
        reason,
    })
}

pub(crate) fn tell(failures: &[CleanupFailure]) {
    for CleanupFailure {
        sandbox,
        step,
        reason,
    } in failures
    {
        tracing::warn!(%sandbox, step, reason, "cleaning up failed");
    }
}
