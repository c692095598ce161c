//! What does not run: agents, environments, keys and workspaces, as the API has them. It needs nothing but the store.
//!
//! Everything is asked for by workspace; what is another workspace's is not there.

mod address;
mod agents;
mod environments;
mod keys;
mod resources;

pub use address::ServerAddress;
pub use agents::Agents;
pub use environments::Environments;
pub use keys::{AdminKey, AdminKeyError, Caller, Keys, Origin, Secret};
pub use resources::{ResourceError, Resources};
