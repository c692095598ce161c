//! Between a runtime's protocol and the API: frames become events, a session's log becomes the messages and the transcript
//! that a runtime is given, an agent's tools become arguments and verdicts, and a custom tool is a server of the Model
//! Context Protocol that the API's clients play. Pure.

pub mod custom_tools;
pub mod message;
pub mod retry;
pub mod toolset;
pub mod transcript;

mod translator;

pub use translator::{ApiError, Meaning, Nonsense, State, Translator, interrupted, runtime_tool_name};
