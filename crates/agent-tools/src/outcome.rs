//! What a tool call comes to: the blocks for the model and the structured result for the host.

use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// API content blocks of the `tool_result`; never empty.
    pub content: Vec<Value>,
    pub is_error: bool,
    /// `tool_use_result` of the user frame: the tool's object, or the string `Error: …`.
    pub result: Value,
}

impl Outcome {
    pub(crate) fn text(text: impl Into<String>, result: Value) -> Self {
        Self {
            content: vec![text_block(text)],
            is_error: false,
            result,
        }
    }

    /// A call that cannot be done as asked. The text says what to do instead.
    pub(crate) fn refused(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        Self {
            content: vec![text_block(format!("<tool_use_error>{text}</tool_use_error>"))],
            is_error: true,
            result: Value::String(format!("Error: {text}")),
        }
    }

    /// A call that was carried out and failed: the text is the tool's own.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        let text = text.into();
        let result = Value::String(format!("Error: {text}"));
        Self {
            content: vec![text_block(text)],
            is_error: true,
            result,
        }
    }

    pub(crate) fn interrupted() -> Self {
        Self::failed("The tool call was interrupted before it was done")
    }
}

pub(crate) fn text_block(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}
