//! The client's half of the Model Context Protocol: messages to servers, and what servers say made safe to use.
//!
//! Pure: no transport and no time. Everything a server says is hostile: names, schemas, texts and counts are bounded
//! here, once, before they reach a model, a transcript or a host.
//!
//! ```text
//!   initialize -> notifications/initialized -> tools/list (each page) -> tools/call ...
//!                                                                          notifications/cancelled
//! ```

mod content;
mod message;
mod name;
mod tool;

pub use content::{Content, Limits, described};
pub use message::{
    CallRequest, ResponseError, ServerInfo, call, cancelled, initialize, initialized, list_tools, response,
    server_info,
};
pub use name::{qualified, sanitized};
pub use tool::{Catalogue, MAX_PAGES, Tool};
