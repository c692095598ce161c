//! stream-json.
