//! A session as the API shows it.

use crate::made::Made;
use crate::{Hosted, HostedError};
use control::Runtime;
use domain::{Cost, SandboxState, SessionStatus};
use time::OffsetDateTime;
use wire::SessionUsage;
use wire::sessions::{CostFacts, Facts, RuntimeFacts, SandboxFacts, Session, Stats};

/// Of one sandbox, in billionths of a US dollar: five cents an hour.
const NANO_USD_PER_SECOND: f64 = 5e7 / 3600.0;

impl Hosted {
    pub(crate) async fn view(&self, row: store::Session) -> Result<Session, HostedError> {
        let store = self.control.store();
        let (sums, active, sandboxes) = tokio::try_join!(
            store.model_call_sums(&row.id),
            control::active(store, &row.id),
            store.sandboxes_of(&row.id),
        )?;
        let made = Made::of(&row)?;
        let runtime = match control::runtime(&row)? {
            Runtime::Native => facts("native", env!("CARGO_PKG_VERSION")),
            Runtime::Claude { version } => facts("claude", &version),
        };
        let now = OffsetDateTime::now_utc();
        let ended = match row.status {
            SessionStatus::Terminated => row.updated_at,
            _ => now,
        };
        let sandbox_seconds: f64 = sandboxes
            .iter()
            .map(|sandbox| {
                let end = match sandbox.state {
                    SandboxState::Destroyed => sandbox.updated_at,
                    _ => now,
                };
                (end - sandbox.created_at).as_seconds_f64().max(0.0)
            })
            .fold(0.0, |sum, seconds| sum + seconds);
        let sandbox_cost = Cost::from_nano_usd((sandbox_seconds * NANO_USD_PER_SECOND) as u64);
        let active_seconds = active.as_secs_f64();
        let environment_id = row.hosting.map(|hosting| hosting.environment_id);
        Ok(Session {
            id: row.id,
            status: row.status,
            agent: made.agent,
            environment_id: environment_id.unwrap_or_default(),
            title: row.title,
            metadata: made.metadata,
            resources: [],
            vault_ids: [],
            outcome_evaluations: [],
            stats: Stats {
                active_seconds,
                duration_seconds: (ended - row.created_at).as_seconds_f64().max(0.0),
            },
            usage: SessionUsage::new(&sums.usage, sums.list_cost(), active_seconds),
            budget: made.budget,
            deployment_id: None,
            created_at: row.created_at,
            updated_at: row.updated_at,
            archived_at: row.archived_at,
            hostler: Facts {
                sandbox: sandboxes.into_iter().next_back().map(|sandbox| SandboxFacts {
                    id: sandbox.id.to_string(),
                    state: sandbox.state,
                }),
                runtime,
                cost: CostFacts {
                    tokens: sums.list_cost().map(Into::into),
                    sandbox_seconds,
                    sandbox_time: sandbox_cost.into(),
                },
            },
        })
    }
}

fn facts(name: &str, version: &str) -> RuntimeFacts {
    RuntimeFacts {
        name: name.to_owned(),
        version: version.to_owned(),
    }
}
