//! OpenTelemetry traces of turns, exported over OTLP/HTTP where the standard variables name a collector.
//!
//! ```text
//! request ──> turn ─┬─> sandbox, runtime      the owner of a session begins and ends these
//!                   ├─> chat {model}          the gateway
//!                   └─> execute_tool {name} ──> approval
//!
//! a span that ended ──> bounded queue ──> one task that exports batches ──> collector
//! ```
//!
//! Whoever does something holds a handle and says when it begins and how it ends; a handle that is off is nothing, and
//! costs a look at it. No span has a text that a user, a model or a tool wrote: what there is of them is ids, names,
//! numbers and kinds. A collector that is slow or gone costs spans, which are counted, and never anybody's time.

mod batches;
mod collector;
mod context;
mod model_call;
mod names;
mod rejected;
mod request;
mod sampling;
mod session;
mod settings;
mod span;
mod start;
mod turn;

pub use context::{Context, within};
pub use model_call::{ModelCall, ModelCallEnd};
pub use request::{NewRequest, RequestSpan};
pub use session::{About, SessionTrace};
pub use settings::{Settings, SettingsError};
pub use span::Step;
pub use start::{StartError, Traces};
pub use turn::{Decision, NewTool, ToolKind, TurnEnd};
