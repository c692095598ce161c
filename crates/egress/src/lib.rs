//! Egress of a sandbox, served from outside its network namespace: DNS, an HTTP proxy and transparent listeners.
//!
//! ```text
//!   agent ── name? ──> dns ──────────> a synthetic address, only for a name that a rule allows; no query leaves
//!         ── connect to it ──> transparent ──┐ the name must be the one in the ClientHello or the Host header
//!         ── CONNECT, http:// ─> http ───────┴─> policy ─> resolve ─> filter addresses ─> connect ─> relay
//! ```
//!
//! Nothing is connected to, and no name is asked for, before a rule allowed it. Everything a client sends is bounded
//! in size and time, and every decision is audited. See `docs/egress.md`.

pub mod audit;
pub mod config;
mod dial;
mod dns;
mod http;
mod listener;
mod meter;
mod names;
mod opening;
mod rate;
mod relay;
pub mod resolve;
mod sandbox;
pub mod serving;
mod tasks;
mod transparent;
mod tunnel;

pub use audit::{Audit, AuditEntry, TracingAudit, Traffic, Transport};
pub use config::Config;
pub use resolve::{Resolve, ResolveError};
pub use serving::{Egress, EgressSockets, ServeError, Serving};
