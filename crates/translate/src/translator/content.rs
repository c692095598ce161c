//! Tool names, inputs and results, from the Messages API to the Managed Agents API.

use serde_json::{Map, Value};
use wire::ContentBlock;

/// The tools of the agent toolset: as runtimes name them, and as the API does.
const TOOLS: [(&str, &str); 8] = [
    ("Bash", "bash"),
    ("Edit", "edit"),
    ("Glob", "glob"),
    ("Grep", "grep"),
    ("Read", "read"),
    ("WebFetch", "web_fetch"),
    ("WebSearch", "web_search"),
    ("Write", "write"),
];

/// The name of a tool on the wire; one that is not of the toolset keeps its own.
pub(super) fn tool_name(name: &str) -> String {
    TOOLS
        .iter()
        .find(|(runtime, _)| *runtime == name)
        .map_or(name, |(_, api)| api)
        .to_owned()
}

/// The way back.
pub fn runtime_tool_name(name: &str) -> &str {
    TOOLS
        .iter()
        .find(|(_, api)| *api == name)
        .map_or(name, |(runtime, _)| runtime)
}

/// A model may write an input that is no object; it is shown under a name that no tool has.
pub(super) fn tool_input(input: Value) -> Map<String, Value> {
    match input {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        other => Map::from_iter([("malformed_input".to_owned(), other)]),
    }
}

/// A string, or a list of blocks; what is neither is shown as the JSON that it is.
pub(super) fn result_blocks(content: Value) -> Option<Vec<ContentBlock>> {
    match content {
        Value::Null => None,
        Value::String(text) => Some(vec![ContentBlock::text(text)]),
        Value::Array(blocks) => Some(blocks.into_iter().map(block).collect()),
        other => Some(vec![ContentBlock::text(other.to_string())]),
    }
}

fn block(json: Value) -> ContentBlock {
    let text = json.to_string();
    serde_json::from_value(json).unwrap_or_else(|_| ContentBlock::text(text))
}
