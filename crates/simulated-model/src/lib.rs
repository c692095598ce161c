//! A Messages API that plays scripts, for tests, benches and the bundled example.
//!
//! It answers as the real API does, down to the order of the events and the shape of the errors, and refuses the
//! requests that the real one refuses. It is a server like any other: nobody is given it in place of a model without
//! asking for it. `docs/simulated-model.md` describes the scripts.

mod answer;
mod attempts;
mod body;
mod choice;
mod events;
pub mod ledger;
mod request;
mod routes;
pub mod script;
pub mod server;
mod template;
mod tokens;

pub use ledger::{Entry, Ledger, Outcome, Sent, Totals};
pub use routes::request_id;
pub use script::{Script, ScriptError};
pub use server::{Arrival, Options, Server};
pub use tokens::Usage;
