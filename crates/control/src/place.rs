//! A session's place to run: its sandbox, what serves its network, and the way to its guest.
//!
//! Building it is all or nothing: where a step fails, what was there before it is taken away again.

use crate::CleanupFailure;
use crate::network::{Attachment, Grant};
use crate::record::Record;
use crate::sessions::Parts;
use domain::{SandboxId, SandboxState};
use guest_protocol::Client;
use uuid::Uuid;

pub(crate) struct Place {
    pub sandbox: SandboxId,
    pub client: Client,
    pub token: String,
    /// As it is recorded.
    pub state: SandboxState,
    attachment: Option<Box<dyn Attachment>>,
    /// How often the memory limit had ended a process when it was last looked at.
    memory_kills: u64,
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
    /// Builds the sandbox, which is recorded already.
    pub(crate) async fn build(
        parts: &Parts,
        record: &Record,
        sandbox: SandboxId,
    ) -> Result<Self, PlaceError> {
        let session = &record.row.id;
        let spec = sandbox::Spec {
            id: sandbox.clone(),
            limits: record.row.limits,
            workspace: record.workspace(),
            egress_ports: record.rules.explicit_ports(),
            files_from: None,
        };
        let (created, spent) =
            tokio::join!(parts.backend.create(&spec), parts.store.model_call_sums(session));
        let created = created?;
        let token = format!(
            "hostler-session-{}{}",
            Uuid::new_v4().simple(),
            Uuid::new_v4().simple()
        );
        let attached = match spent {
            Ok(spent) => {
                let grant = Grant {
                    token: token.clone(),
                    rules: record.rules.clone(),
                    budget: record.settings.max_cost,
                    already_spent: spent.cost,
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
                state: SandboxState::Starting,
                attachment: Some(attachment),
                memory_kills: 0,
            }),
            Err(error) => {
                tell(&destroy(parts, &sandbox).await);
                Err(error)
            }
        }
    }

    /// Ends everything in the sandbox; its files stay.
    pub(crate) async fn tear_down(mut self, parts: &Parts) -> Vec<CleanupFailure> {
        // First the processes, so that nothing in them sees its network go.
        let failures = destroy(parts, &self.sandbox).await;
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
        Ok(()) => Vec::new(),
        Err(error) => failure("recording the end", error.to_string()),
    }
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
