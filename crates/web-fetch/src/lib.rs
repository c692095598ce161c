//! A page of the web as text that a model can read.
//!
//! Pages are hostile: what is read, unpacked, converted and kept is bounded, and so is the time it takes. A redirect
//! is followed on its own host alone: where else it leads is for the caller to judge. Nothing is made, and nothing is
//! held, before the first page is fetched.

mod body;
mod cache;
mod charset;
mod fetch;
mod markdown;
mod page;
mod target;

pub use fetch::{Config, FetchError, Fetched, Fetcher, Limits};
pub use page::Page;
pub use target::{BadTarget, Target};
