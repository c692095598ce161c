//! The HTTP API: what clients see of hostler.
//!
//! ```text
//! listener ─> connection ─> answer: route ─> who is it ─> how often ─> query, body ─> handler ─> control
//!             (heads: how   │                                                          │
//!              long, how    └── anything that goes wrong, a panic too, becomes the ────┘
//!              large)           API's one error shape, with the request's id
//! ```
//!
//! The table of routes ([`routes`]) is the one place that says which endpoints there are: requests are matched by it, the
//! `OpenAPI` document is printed from it, and tests walk it. A client is hostile until its key is known, and bounded
//! after that.

mod answer;
mod api;
mod api_error;
mod authentication;
mod body;
mod call;
mod config;
mod connection;
mod ending;
mod following;
mod json;
mod memory;
mod openapi;
mod paced;
mod rate;
mod reply;
mod request_id;
mod route;
mod router;
mod routes;
mod run;
mod sse;
mod websocket;

pub use api::{Api, NoUpstream, Upstream};
pub use config::{Config, Limits, Rates};
pub use ending::Ending;
pub use openapi::document;
pub use reply::{Body, BoxError};
pub use route::{Access, Endpoint};
pub use run::{ServeError, Server};
