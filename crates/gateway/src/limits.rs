//! What one session may ask of the gateway, and how long the gateway waits for anybody.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Limits {
    /// Calls of one session at a time; the next one is told to wait.
    pub concurrent_calls: usize,
    /// Connections of one session at a time; the next one waits in the backlog.
    pub connections: usize,
    pub request_bytes: usize,
    /// The head of a request, all headers together.
    pub head_bytes: usize,
    /// From the first byte of a request's head to its last.
    pub head_deadline: Duration,
    /// For a request's body.
    pub body_deadline: Duration,
    /// From a request to the head of the upstream's answer, for a streamed reply; tries and waits apart.
    pub stream_head: Duration,
    /// The same for one that is not streamed, which is answered when it is complete.
    pub whole_head: Duration,
    /// Silence of the upstream within an answer.
    pub upstream_idle: Duration,
    /// A streamed reply from its head to its end.
    pub stream_duration: Duration,
    pub stream_bytes: u64,
    /// A reply that is not streamed.
    pub reply_bytes: usize,
    /// What the ledger may take before the end of a reply is passed on without it.
    pub ledger_deadline: Duration,
    /// What open replies may take after `stop`.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_calls: 64,
            connections: 256,
            request_bytes: 32 << 20,
            head_bytes: 64 << 10,
            head_deadline: Duration::from_secs(15),
            body_deadline: Duration::from_mins(1),
            stream_head: Duration::from_mins(5),
            whole_head: Duration::from_mins(11),
            upstream_idle: Duration::from_mins(5),
            stream_duration: Duration::from_hours(1),
            stream_bytes: 256 << 20,
            reply_bytes: 32 << 20,
            ledger_deadline: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}
