//! Sessions of the API: made from an agent and an environment, seen by their workspace alone.
//!
//! What they are made of does not run and is in `resources`; who has this crate has that one's names too.

mod change;
mod made;
mod sessions;
mod urls;
mod versions;
mod view;

pub use resources::{
    AdminKey, AdminKeyError, Agents, Caller, Environments, Keys, Origin, ResourceError, Resources, Secret,
    ServerAddress,
};
pub use sessions::{Hosted, HostedError};
pub use versions::Versions;
