//! A sandbox's network, served: its gateway listener by the gateway, all others by egress.

use async_trait::async_trait;
use bytes::Bytes;
use control::{Attachment, Grant, Network, NetworkError};
use domain::{Cost, SessionId};
use egress::{Egress, EgressSockets};
use gateway::{Gateway, OutsideReach, SessionGrant};
use std::time::Instant;

pub(crate) struct HostNetwork {
    pub(crate) gateway: Gateway,
    pub(crate) egress: Egress,
}

struct Served {
    gateway: gateway::Serving,
    egress: egress::Serving,
}

/// The model API behind the gateway, as the HTTP API asks it about itself.
pub(crate) struct ModelApi(pub(crate) Gateway);

#[async_trait]
impl server::Upstream for ModelApi {
    async fn describe(&self, path_and_query: &str) -> Option<Bytes> {
        self.0.describe(path_and_query).await
    }
}

fn unserved(error: &dyn std::error::Error) -> NetworkError {
    let reason = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    NetworkError { reason }
}

#[async_trait]
impl Network for HostNetwork {
    async fn attach(
        &self,
        session: &SessionId,
        grant: Grant,
        listeners: sandbox::Listeners,
    ) -> Result<Box<dyn Attachment>, NetworkError> {
        let sockets = EgressSockets {
            proxy: listeners.proxy,
            dns_udp: listeners.dns_udp,
            dns_tcp: listeners.dns_tcp,
            transparent: listeners.transparent,
        };
        let egress = self
            .egress
            .serve(session.clone(), grant.rules.clone(), sockets)
            .map_err(|error| unserved(&error))?;
        let session_grant = SessionGrant {
            session_id: session.clone(),
            token: grant.token,
            budget: grant.budget,
            already_spent: grant.already_spent,
            waiting_since: grant.waiting_since,
            trace: grant.trace,
            reach: OutsideReach {
                web_search: grant.web_search,
                urls: grant.rules,
            },
        };
        let gateway = self
            .gateway
            .serve(session_grant, listeners.gateway)
            .map_err(|error| unserved(&error))?;
        Ok(Box::new(Served { gateway, egress }))
    }
}

#[async_trait]
impl Attachment for Served {
    fn set_budget(&self, budget: Option<Cost>) {
        self.gateway.set_budget(budget);
    }

    fn wait_since(&self, since: Instant) {
        self.gateway.wait_since(since);
    }

    fn set_web_search(&self, allowed: bool) {
        self.gateway.set_web_search(allowed);
    }

    async fn detach(self: Box<Self>) {
        tokio::join!(self.gateway.stop(), self.egress.stop());
    }
}
