//! What the model is told of a tool, and what the caller must know to run it.

use serde_json::Value;

/// Whether a call may run beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// Any number at once.
    Safe,
    /// Alone: it changes what others see.
    Exclusive,
}

/// What a call does to the machine; permission modes are decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Edit,
    Execute,
    /// Asks the world outside, and changes nothing here.
    Network,
}

#[derive(Debug, Clone)]
pub struct Definition {
    pub name: &'static str,
    pub description: String,
    /// An object schema with `additionalProperties: false`; every call's input is held against it.
    pub input_schema: Value,
    pub concurrency: Concurrency,
    pub kind: Kind,
}
