//! How hostler reaches the outside: a resolver and an HTTP client.
//!
//! No name is looked up through the C library: a static binary would have to load its name service modules. What
//! a plain `http` user does not need (trust roots, the resolver's state) is loaded on first use.

pub mod client;
mod connector;
mod proxy;
mod request_error;
pub mod resolver;
mod stream;
mod trust;

pub use client::{Body, BoxError, Client, ClientConfig};
pub use proxy::{BadProxy, Proxies};
pub use request_error::RequestError;
pub use resolver::{ResolveError, Resolver, ResolverConfig};
pub use trust::TrustError;
