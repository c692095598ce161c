//! The model gateway: what an agent sees as the model API, without its key.
//!
//! ```text
//! sandbox ── session token ──> listener ──> admission ──> one task per call ── real key ──> upstream
//!                                             │ token, size,    │ opened in the ledger before the upstream
//!                                             │ model, budget   │ sees it, closed before the client sees its end
//! ```
//!
//! The real key is put on outside the sandbox and never comes back in: not in a header, a body or an error. Bodies
//! pass as they are, in both directions. Every call is in the ledger with what it used, also one that was cut.

mod admission;
mod api_error;
mod call;
mod connection;
pub mod gateway;
mod headers;
pub mod ledger;
pub mod limits;
mod meter;
mod outside_reach;
mod relay;
mod request_head;
mod retry;
mod routes;
mod scrub;
mod secret;
mod send;
mod serving;
mod session;
mod sse;
mod upstream;
mod usage_report;

pub use gateway::{Clock, Config, Gateway};
pub use ledger::{CallId, CallOutcome, Ended, Ledger, LedgerError, MemoryLedger, NewCall, RecordedCall};
pub use limits::Limits;
pub use outside_reach::OutsideReach;
pub use retry::Retries;
pub use secret::Secret;
pub use serving::Serving;
pub use session::SessionGrant;
pub use upstream::{Credential, Upstream, UpstreamError};
