//! The configuration file of a server, in TOML. `config/default.toml` is its reference: every key with its default and
//! what it does, held against the types here by a test.
//!
//! ```text
//! default <-- file <-- environment <-- flags        each says again only what it wants otherwise
//! ```

use crate::tuning::{EgressTuning, ModelTuning};
use crate::values::{Addresses, BaseUrl, Bytes, Cpus, FilePath, Filter, Flag, JailerStart, Time, Whole};
use serde::{Deserialize, Serialize};

/// Every key with its default, commented out.
pub const REFERENCE: &str = include_str!("config/default.toml");

const HOUR: u64 = 3600;
const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const T: u64 = 1 << 40;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: Addresses,
    pub data: Option<FilePath>,
    pub pool: Whole<0, 64>,
    pub jailer: JailerStart,
    pub log: Filter,
    pub open_metrics: Flag,
    pub admin_key_file: Option<FilePath>,
    pub upstream: Upstream,
    pub rates: Rates,
    pub limits: Limits,
    pub ending: Ending,
    pub sandbox: Sandbox,
    pub egress: Egress,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    pub base_url: Option<BaseUrl>,
    pub api_key_file: Option<FilePath>,
    pub concurrent_calls: Whole<1, 1024>,
    pub attempts: Whole<1, 10>,
    pub head_deadline: Time<1, HOUR>,
    pub idle_deadline: Time<1, HOUR>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    pub create: Whole<1, 1_000_000>,
    pub environments: Whole<1, 1_000_000>,
    pub other: Whole<1, 1_000_000>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub connections: Whole<1, 1_000_000>,
    pub head_deadline: Time<1, HOUR>,
    pub head_bytes: Bytes<{ 8 * K }, M>,
    pub headers: Whole<16, 1024>,
    pub body_pause: Time<1, HOUR>,
    pub body_deadline: Time<1, { 24 * HOUR }>,
    /// A share of it, a quarter, holds the largest body.
    pub buffered_bytes: Bytes<{ 128 * M }, T>,
    pub ping: Time<1, HOUR>,
    pub silence: Time<2, HOUR>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ending {
    /// A successor waits two minutes for everything.
    pub requests: Time<0, 60>,
    pub streams: Time<0, { 24 * HOUR }>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    pub cpus: Cpus,
    pub memory: Bytes<{ 32 * M }, { 16 * T }>,
    pub disk: Bytes<{ 64 * M }, { 16 * T }>,
    pub pids: Whole<16, 4_194_304>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    pub connections: Whole<1, 65_536>,
    pub connections_total: Whole<1, 1_000_000>,
    pub connections_per_second: Whole<1, 100_000>,
    pub dns_queries_per_second: Whole<1, 100_000>,
    pub connect_deadline: Time<1, { HOUR / 6 }>,
    pub idle_deadline: Time<1, { 24 * HOUR }>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Addresses(vec![([127, 0, 0, 1], 8700).into()]),
            data: None,
            pool: Whole(8),
            jailer: JailerStart::default(),
            log: Filter("info".to_owned()),
            open_metrics: Flag(false),
            admin_key_file: None,
            upstream: Upstream::default(),
            rates: Rates::default(),
            limits: Limits::default(),
            ending: Ending::default(),
            sandbox: Sandbox::default(),
            egress: Egress::default(),
        }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        let usual = ModelTuning::default();
        Self {
            base_url: None,
            api_key_file: None,
            concurrent_calls: Whole(usual.concurrent_calls.into()),
            attempts: Whole(usual.attempts.into()),
            head_deadline: Time(usual.head_deadline),
            idle_deadline: Time(usual.idle_deadline),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        let usual = server::Rates::default();
        Self {
            create: Whole(usual.create.into()),
            environments: Whole(usual.environments.into()),
            other: Whole(usual.other.into()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let usual = server::Limits::default();
        Self {
            connections: Whole(usual.connections as u64),
            head_deadline: Time(usual.head_deadline),
            head_bytes: Bytes(usual.head_bytes as u64),
            headers: Whole(usual.headers as u64),
            body_pause: Time(usual.body_pause),
            body_deadline: Time(usual.body_deadline),
            buffered_bytes: Bytes(usual.buffered_bytes as u64),
            ping: Time(usual.ping),
            silence: Time(usual.silence),
        }
    }
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            requests: Time(server::Limits::default().drain),
            streams: Time(std::time::Duration::from_mins(10)),
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        let usual = domain::Limits::default();
        Self {
            cpus: Cpus(usual.cpu_millis),
            memory: Bytes(usual.memory_bytes),
            disk: Bytes(usual.disk_bytes),
            pids: Whole(usual.pids.into()),
        }
    }
}

impl Default for Egress {
    fn default() -> Self {
        let usual = EgressTuning::default();
        Self {
            connections: Whole(usual.connections.into()),
            connections_total: Whole(usual.connections_total.into()),
            connections_per_second: Whole(usual.connections_per_second.into()),
            dns_queries_per_second: Whole(usual.dns_queries_per_second.into()),
            connect_deadline: Time(usual.connect_deadline),
            idle_deadline: Time(usual.idle_deadline),
        }
    }
}

impl Config {
    pub fn server(&self) -> server::Config {
        let (limits, rates) = (&self.limits, &self.rates);
        server::Config {
            limits: server::Limits {
                connections: limits.connections.0 as usize,
                head_deadline: limits.head_deadline.0,
                head_bytes: limits.head_bytes.0 as usize,
                headers: limits.headers.0 as usize,
                body_pause: limits.body_pause.0,
                body_deadline: limits.body_deadline.0,
                buffered_bytes: limits.buffered_bytes.0 as usize,
                ping: limits.ping.0,
                silence: limits.silence.0,
                drain: self.ending.requests.0,
            },
            rates: server::Rates {
                create: rates.create.0 as u32,
                environments: rates.environments.0 as u32,
                other: rates.other.0 as u32,
            },
            open_metrics: self.open_metrics.0,
        }
    }

    pub fn sandbox_limits(&self) -> domain::Limits {
        domain::Limits {
            cpu_millis: self.sandbox.cpus.0,
            memory_bytes: self.sandbox.memory.0,
            disk_bytes: self.sandbox.disk.0,
            pids: self.sandbox.pids.0 as u32,
        }
    }

    pub fn models(&self) -> ModelTuning {
        ModelTuning {
            concurrent_calls: self.upstream.concurrent_calls.0 as u32,
            attempts: self.upstream.attempts.0 as u32,
            head_deadline: self.upstream.head_deadline.0,
            idle_deadline: self.upstream.idle_deadline.0,
        }
    }

    pub fn egress(&self) -> EgressTuning {
        EgressTuning {
            connections: self.egress.connections.0 as u32,
            connections_total: self.egress.connections_total.0 as u32,
            connections_per_second: self.egress.connections_per_second.0 as u32,
            dns_queries_per_second: self.egress.dns_queries_per_second.0 as u32,
            connect_deadline: self.egress.connect_deadline.0,
            idle_deadline: self.egress.idle_deadline.0,
        }
    }

    /// With an example where a key has no default, so that every key is there.
    pub(crate) fn complete() -> Self {
        let path = |text: &str| Some(FilePath(text.into()));
        Self {
            data: path("/var/lib/hostler"),
            admin_key_file: path("/etc/hostler/admin.key"),
            upstream: Upstream {
                base_url: BaseUrl::parse("https://api.anthropic.com"),
                api_key_file: path("/etc/hostler/anthropic.key"),
                ..Upstream::default()
            },
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
