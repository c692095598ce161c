//! What is written down of egress: each decision with the rule that made it, and each connection's bytes at its end.
//! Hosts in entries are checked names, or what the client sent, escaped and cut.

use domain::SessionId;
use serde::Serialize;
use std::fmt;
use time::OffsetDateTime;

/// Takes entries in the order in which they happen. Called from tasks that serve traffic: it must not block.
pub trait Audit: Send + Sync {
    fn record(&self, entry: AuditEntry);
}

/// How the client came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// A `CONNECT` to the proxy.
    Connect,
    /// A request in the clear, to the proxy or to port 80.
    Http,
    /// A `ClientHello`, to a synthetic address or inside a tunnel.
    Tls,
    /// A connection to a synthetic address on a port of its own.
    Tcp,
    Dns,
}

impl Transport {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Dns => "dns",
        }
    }
}

/// Bytes of payload on the upstream side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    pub up_bytes: u64,
    pub down_bytes: u64,
}

/// A decision, or the end of a connection that was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    pub session: SessionId,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    pub transport: Transport,
    pub host: String,
    pub port: u16,
    pub allowed: bool,
    /// The text of the rule that allowed it.
    pub rule: Option<String>,
    pub reason: String,
    /// Set exactly on the entry of a connection's end.
    pub traffic: Option<Traffic>,
}

impl fmt::Display for AuditEntry {
    /// One line without the session and the time.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match (self.allowed, self.traffic) {
            (_, Some(_)) => "closed",
            (true, None) => "allowed",
            (false, None) => "refused",
        };
        write!(
            formatter,
            "{verb} {} {}:{}",
            self.transport.as_str(),
            self.host,
            self.port
        )?;
        if let Some(rule) = &self.rule {
            write!(formatter, " by {rule}")?;
        }
        if let Some(traffic) = self.traffic {
            write!(formatter, " up {} down {}", traffic.up_bytes, traffic.down_bytes)?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

/// Audits to the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAudit;

impl Audit for TracingAudit {
    fn record(&self, entry: AuditEntry) {
        let traffic = entry.traffic.unwrap_or_default();
        tracing::info!(
            target: "egress::audit",
            session = %entry.session,
            transport = entry.transport.as_str(),
            host = entry.host,
            port = entry.port,
            allowed = entry.allowed,
            rule = entry.rule,
            up_bytes = traffic.up_bytes,
            down_bytes = traffic.down_bytes,
            "{entry}"
        );
    }
}
