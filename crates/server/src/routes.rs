//! The table of routes. A resource has its file; what is not in this table does not exist.

mod agents;
mod environments;
mod events;
mod health;
mod keys;
pub(crate) mod metrics;
mod models;
mod sessions;
mod workspaces;

use crate::route::Route;

/// Every endpoint, resource by resource.
pub(crate) fn all() -> Vec<Route> {
    [
        agents::routes(),
        environments::routes(),
        sessions::routes(),
        events::routes(),
        models::routes(),
        keys::routes(),
        workspaces::routes(),
        health::routes(),
        metrics::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
