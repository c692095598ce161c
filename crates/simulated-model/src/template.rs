//! Variables in a script's texts: `{{name}}`, replaced by a part of the request. Braces that name no variable are an
//! error when the script is loaded, so that what is played is what was meant.

use crate::request::MessagesRequest;
use serde_json::Value;

/// The longest value that is put in.
const MAX_VALUE_CHARACTERS: usize = 20_000;

const NAMES: [&str; 6] = [
    "last_tool_result",
    "last_user_text",
    "last_user_line",
    "first_user_text",
    "turn",
    "model",
];

/// Why the text cannot be used.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut unknown = None;
    replace(text, &mut |name| {
        if !NAMES.contains(&name) {
            unknown = Some(name.chars().take(64).collect::<String>());
        }
        String::new()
    });
    match unknown {
        None => Ok(()),
        Some(name) => Err(format!(
            "there is no variable {name:?}; there are {}",
            NAMES.join(", ")
        )),
    }
}

/// The text with its variables replaced.
pub(crate) fn fill(text: &str, request: &MessagesRequest) -> String {
    replace(text, &mut |name| value(name, request))
}

/// The same, in every string of a tool's input.
pub(crate) fn fill_value(input: &Value, request: &MessagesRequest) -> Value {
    match input {
        Value::String(text) => Value::String(fill(text, request)),
        Value::Array(items) => items.iter().map(|item| fill_value(item, request)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| (key.clone(), fill_value(item, request)))
            .collect(),
        other => other.clone(),
    }
}

/// Every string in a value.
pub(crate) fn strings(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::String(text) => Box::new(std::iter::once(text.as_str())),
        Value::Array(items) => Box::new(items.iter().flat_map(strings)),
        Value::Object(map) => Box::new(map.values().flat_map(strings)),
        _ => Box::new(std::iter::empty()),
    }
}

fn value(name: &str, request: &MessagesRequest) -> String {
    let whole = match name {
        "last_tool_result" => request
            .last_tool_result()
            .map(|result| result.text)
            .unwrap_or_default(),
        "last_user_text" => request.last_user_text(),
        // What a runtime puts before the user's own words is not in it.
        "last_user_line" => request
            .last_user_text()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned(),
        "first_user_text" => request.first_user_text(),
        "turn" => request.position().to_string(),
        "model" => request.model.clone(),
        _ => String::new(),
    };
    match whole.char_indices().nth(MAX_VALUE_CHARACTERS) {
        Some((end, _)) => whole[..end].to_owned(),
        None => whole,
    }
}

fn replace(text: &str, value: &mut dyn FnMut(&str) -> String) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else {
            break;
        };
        filled.push_str(before);
        filled.push_str(&value(name.trim()));
        rest = behind;
    }
    filled.push_str(rest);
    filled
}
