//! A client of the HTTP API, for the command line: requests as JSON, answers as `wire` types, errors as the API tells
//! them. What a server sends is bounded.

mod client;
mod error;

pub use client::Client;
pub use error::{ClientError, UrlError};
