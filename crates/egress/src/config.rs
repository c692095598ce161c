//! Limits and deadlines. There is no way to switch one off: what a sandbox can hold of the host is always bounded.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// TCP connections of one sandbox that are served at once; more wait in the backlog.
    pub max_connections: usize,
    /// The same over all sandboxes.
    pub max_connections_total: usize,
    /// New connections of one sandbox; the backlog holds the rest back.
    pub connections_per_second: u32,
    /// Queries of one sandbox that are answered; more are dropped.
    pub dns_queries_per_second: u32,
    /// Refusals of one sandbox that are audited one by one; more are counted.
    pub audited_refusals_per_second: u32,
    /// Names of one sandbox that have a synthetic address.
    pub max_names: usize,
    /// How long a name keeps its address after it was last asked for or connected to.
    pub name_lifetime: Duration,
    /// Told to clients; far below `name_lifetime`.
    pub dns_ttl: Duration,
    /// The head of a request or a response.
    pub max_head_bytes: usize,
    pub max_client_hello_bytes: usize,
    /// For a request's head, a `ClientHello` or a DNS message over TCP, from the first moment it could come.
    pub opening_timeout: Duration,
    pub resolve_timeout: Duration,
    /// Over all addresses of a name.
    pub connect_timeout: Duration,
    /// Without a byte moving, until the head of a response.
    pub response_timeout: Duration,
    /// Without a byte moving, in a tunnel or a body.
    pub idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_connections_total: 8192,
            connections_per_second: 500,
            dns_queries_per_second: 1000,
            audited_refusals_per_second: 20,
            max_names: 10_000,
            name_lifetime: Duration::from_mins(15),
            dns_ttl: Duration::from_mins(1),
            max_head_bytes: 64 << 10,
            max_client_hello_bytes: 16 << 10,
            opening_timeout: Duration::from_secs(30),
            resolve_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_mins(5),
            idle_timeout: Duration::from_mins(15),
        }
    }
}
