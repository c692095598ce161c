//! The words of the domain and the rules that hold between them: ids, limits, usage, prices, and the
//! state machines of sandboxes and sessions.
//!
//! Pure: no I/O, no clock, no tokio. Everything here can be tested by a table.

pub mod id;
pub mod limits;
pub mod money;
pub mod price;
pub mod sandbox_state;
pub mod session_status;
pub mod usage;
pub mod workspace;

pub use id::{AgentId, EnvironmentId, EventId, IdError, InstanceId, KeyId, SandboxId, SessionId};
pub use limits::{LimitError, Limits};
pub use money::Cost;
pub use price::{Model, PriceTable};
pub use sandbox_state::SandboxState;
pub use session_status::SessionStatus;
pub use usage::Usage;
pub use workspace::{WorkspaceError, WorkspaceId};
