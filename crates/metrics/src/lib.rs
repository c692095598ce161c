//! What `/metrics` says of a server, as Prometheus reads it.
//!
//! The registry is made once, by the binary. Whoever has something to count holds a handle; counting is an addition to an
//! atomic, without a lock. No label has a value that a client or an agent chooses: routes are patterns, and there are no
//! ids, no models and no host names.

mod http;
mod latency;
mod model;
mod registry;
mod sessions;

pub use http::{HttpMeter, OpenStream, RouteMeter};
pub use latency::Latency;
pub use model::{EgressMeter, ModelMeter};
pub use registry::{MEDIA_TYPE, Metrics};
pub use sessions::SessionMeter;
