//! The whole system in one process: store, jailer, gateway, egress, control, and the simulated model where it was asked
//! for. Parts start in the order in which they need each other, and end in the reverse one.

use crate::audit::{AuditWriter, StoreAudit};
use crate::ledger::{Observer, StoreLedger};
use crate::network::{HostNetwork, ModelApi};
use async_trait::async_trait;
use cli::{
    EgressTuning, How, JailerStart, ModelTuning, Running, Services, StartError, StartOptions, Upstream,
};
use control::{Control, Lifetime, Parts, Readers, Settings};
use egress::Egress;
use futures_util::FutureExt as _;
use gateway::{Credential, Gateway, Secret};
use metrics::Metrics;
use sandbox_linux::{LinuxBackend, Options};
use simulated_model::{Script, Server};
use std::sync::Arc;
use std::time::Duration;
use store::{Instance, Store};
use traces::Traces;

/// How long sessions may take to end.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(40);
/// Where model calls go when no agent is going to run: the discard port, where nobody answers.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Starts the system in this process.
#[derive(Default)]
pub(crate) struct ThisProcess {
    pub(crate) observer: Option<Observer>,
    /// Nothing where no traces are wanted.
    pub(crate) traces: Option<traces::Settings>,
}

#[async_trait]
impl Services for ThisProcess {
    async fn start(&self, options: &StartOptions) -> Result<Running, StartError> {
        let instance = Instance::open(&options.data)?;
        let data = instance.directory().to_owned();
        let (upstream, simulated) = upstream(&options.upstream).await?;
        let pool = u32::try_from(options.pool).unwrap_or(u32::MAX);
        let backend_options = Options {
            program: std::env::current_exe().map_err(|error| part("program", &error))?,
            data: data.clone(),
            instance: instance.id().clone(),
            shells: pool,
            disks: pool,
            limits: options.tuning.limits,
            starts_jailer: options.tuning.jailer == JailerStart::Own,
        };
        let lifetime = options.lifetime;
        // The jailer looks at the machine while the database opens.
        let backend = tokio::task::spawn_blocking(move || match lifetime {
            Lifetime::Host => LinuxBackend::start(&backend_options),
            Lifetime::Session => LinuxBackend::connect(&backend_options).map(|(backend, _)| backend),
        });
        let (store, backend) = tokio::join!(Store::open(instance), backend);
        let store = store?;
        let backend = backend.map_err(|error| part("sandbox backend", &error))?;
        let backend = backend.map_err(|error| part("sandbox backend", &error))?;
        let metrics = Metrics::default();
        let traces = self.start_traces()?;
        let (audit, audit_writer) = StoreAudit::start(store.clone(), metrics.egress.clone());
        let resolver = outbound::Resolver::system();
        let ledger = Arc::new(StoreLedger::new(
            store.clone(),
            self.observer.clone(),
            metrics.models.clone(),
        ));
        let gateway = Gateway::new(gateway_config(upstream, &options.tuning.models), ledger);
        let network = HostNetwork {
            gateway: gateway.clone(),
            egress: Egress::new(
                egress_config(&options.tuning.egress),
                Arc::new(resolver),
                Arc::new(audit),
            ),
        };
        let control = Control::start(Parts {
            store: store.clone(),
            backend: Arc::new(backend.clone()),
            network: Arc::new(network),
            settings: Settings {
                lifetime: options.lifetime,
                spares: options.pool,
                ..Settings::default()
            },
            meter: metrics.sessions.clone(),
            traces: traces.clone(),
        })
        .await?;
        let ending = Ending {
            control: control.clone(),
            backend: backend.clone(),
            audit: audit_writer,
            simulated,
            store: store.clone(),
        };
        Ok(Running {
            control,
            store,
            metrics,
            traces,
            upstream: Arc::new(ModelApi(gateway)),
            report: backend.found().clone(),
            backend: Arc::new(backend),
            data,
            shutdown: Box::new(|how| ending.run(how).boxed()),
        })
    }
}

impl ThisProcess {
    fn start_traces(&self) -> Result<Traces, StartError> {
        let Some(settings) = &self.traces else {
            return Ok(Traces::default());
        };
        tracing::info!(collector = settings.collector(), "traces are exported");
        Traces::start(settings.clone()).map_err(|error| part("export of traces", &error))
    }
}

/// Everything that has to be ended, in the order in which it is.
struct Ending {
    control: Control,
    backend: LinuxBackend,
    simulated: Option<Server>,
    audit: AuditWriter,
    store: Store,
}

impl Ending {
    /// What has to stay stays in the data directory.
    async fn run(self, how: How) -> Option<Readers> {
        let readers = match how {
            How::End => {
                self.control.shutdown(SHUTDOWN).await;
                None
            }
            How::Leave | How::HandOver => Some(self.control.leave(SHUTDOWN).await),
        };
        drop(self.control);
        let backend = self.backend;
        let ended = tokio::task::spawn_blocking(move || {
            if how == How::End {
                backend.stop();
            } else {
                backend.leave();
            }
        });
        if ended.await.is_err() {
            tracing::error!("the jailer was not stopped");
        }
        if let Some(simulated) = self.simulated {
            simulated.stop().await;
        }
        self.audit.finish().await;
        if how == How::HandOver {
            self.store.release().await;
            return readers;
        }
        drop(readers);
        self.store.close().await;
        None
    }
}

fn part(part: &'static str, error: &dyn std::error::Error) -> StartError {
    let reason = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    StartError::Part { part, reason }
}

fn gateway_config(upstream: gateway::Upstream, tuning: &ModelTuning) -> gateway::Config {
    let usual = gateway::Config::new(upstream);
    gateway::Config {
        limits: gateway::Limits {
            concurrent_calls: tuning.concurrent_calls as usize,
            stream_head: tuning.head_deadline,
            upstream_idle: tuning.idle_deadline,
            ..usual.limits
        },
        retries: gateway::Retries {
            attempts: tuning.attempts,
            ..usual.retries
        },
        ..usual
    }
}

fn egress_config(tuning: &EgressTuning) -> egress::Config {
    egress::Config {
        max_connections: tuning.connections as usize,
        max_connections_total: tuning.connections_total as usize,
        connections_per_second: tuning.connections_per_second,
        dns_queries_per_second: tuning.dns_queries_per_second,
        connect_timeout: tuning.connect_deadline,
        idle_timeout: tuning.idle_deadline,
        ..egress::Config::default()
    }
}

async fn upstream(upstream: &Upstream) -> Result<(gateway::Upstream, Option<Server>), StartError> {
    let at = |url: &str, credential| {
        gateway::Upstream::new(url, credential).map_err(|error| part("model gateway", &error))
    };
    match upstream {
        Upstream::None => Ok((at(NOWHERE, Credential::None)?, None)),
        Upstream::Model { key, base_url } => {
            let credential = Credential::ApiKey(Secret::new(key.as_str()));
            let upstream = match base_url {
                Some(url) => at(url, credential)?,
                None => {
                    gateway::Upstream::anthropic(credential).map_err(|error| part("model gateway", &error))?
                }
            };
            Ok((upstream, None))
        }
        Upstream::Simulated { json, .. } => {
            let script = Script::parse(json).map_err(|error| StartError::Script {
                reason: error.to_string(),
            })?;
            let server = Server::bind("127.0.0.1:0", script, simulated_model::Options::default())
                .await
                .map_err(|error| part("simulated model", &error))?;
            Ok((at(&server.base_url(), Credential::None)?, Some(server)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_says_otherwise_the_parts_are_as_they_usually_are() {
        assert_eq!(egress_config(&EgressTuning::default()), egress::Config::default());
        let upstream = gateway::Upstream::new(NOWHERE, Credential::None).unwrap();
        let (limits, retries) = (gateway::Limits::default(), gateway::Retries::default());
        let config = gateway_config(upstream, &ModelTuning::default());
        assert_eq!(format!("{:?}", config.limits), format!("{limits:?}"));
        assert_eq!(format!("{:?}", config.retries), format!("{retries:?}"));
    }
}
