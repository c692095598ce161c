//! agent-tools.
