//! The egress rule language: which hosts and ports a sandbox may reach. Parse, print, decide.
//!
//! Deny by default: what no rule names is refused. Decisions are by name; the addresses a name resolves to are only
//! filtered, so that a name cannot lead to this machine or its network unless a rule names that address itself.
//! Pure: no I/O, no clock, no tokio.

pub mod address;
pub mod host;
pub mod network;
pub mod pattern;
pub mod rules;

pub use address::AddressClass;
pub use host::{Destination, Host, HostError, HostName, UrlError};
pub use network::Network;
pub use pattern::{Pattern, PatternError, Ports, Problem};
pub use rules::{Decision, MatchedRule, Reason, Rules, RulesError};
