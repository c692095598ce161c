//! How much a client may take: of connections, of time, of memory, and how often it may come.

use crate::Api;
use crate::run::Server;
use std::time::Duration;

#[derive(Debug, Clone, Default)]
pub struct Config {
    pub limits: Limits,
    pub rates: Rates,
    /// Whether `/metrics` is told to who has no key; else it takes the admin key.
    pub open_metrics: bool,
}

impl Config {
    pub fn build(self, api: Api) -> Server {
        Server::new(self, api)
    }
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// Open at once; whoever comes next waits.
    pub connections: usize,
    /// For a request's head, from its connection or the end of the request before.
    pub head_deadline: Duration,
    /// Of a request's head.
    pub head_bytes: usize,
    pub headers: usize,
    /// Between two parts of a body.
    pub body_pause: Duration,
    /// For a whole body.
    pub body_deadline: Duration,
    /// Of bodies that are read or answered at the same time, all together; a workspace may have a quarter of it.
    pub buffered_bytes: usize,
    /// Between two pings to the other end of a `WebSocket`.
    pub ping: Duration,
    /// For a client to take any byte that it is sent, and for a sign of life from the other end of a `WebSocket`.
    pub silence: Duration,
    /// For requests that are being answered when the server is told to end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head_deadline: Duration::from_secs(30),
            head_bytes: 64 << 10,
            headers: 100,
            body_pause: Duration::from_secs(30),
            body_deadline: Duration::from_mins(5),
            buffered_bytes: 256 << 20,
            ping: Duration::from_secs(15),
            silence: Duration::from_mins(1),
            drain: Duration::from_secs(20),
        }
    }
}

/// Requests of one key in a minute. A key that was quiet may make them all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub create: u32,
    /// All requests about environments.
    pub environments: u32,
    /// Everything else.
    pub other: u32,
}

impl Default for Rates {
    /// Those of the Managed Agents API.
    fn default() -> Self {
        Self {
            create: 300,
            environments: 60,
            other: 600,
        }
    }
}
