//! A client of the HTTP API, for the command line: requests as JSON, answers as `wire` types or as the server wrote them,
//! errors as the API tells them, a session's events as they come. What a server sends is bounded, in bytes and in time.

mod answer;
mod client;
mod error;
mod path;
mod records;
mod sessions;
mod sse;

pub use client::Client;
pub use error::{ClientError, UrlError};
pub use records::{Record, Records};
pub use sessions::{EventQuery, Raw, SessionQuery};
