//! Holds a call's input against the tool's schema, so that the tools see only what fits.
//!
//! Covers the part of JSON Schema that the tools' schemas use; a schema of ours with anything else fails its own test.

use serde_json::{Map, Value};

/// One line per misfit, each naming its field. `None` if the input fits.
pub fn misfit(tool: &str, schema: &Value, input: &Value) -> Option<String> {
    let found = match input.as_object() {
        Some(fields) => misfits(schema, fields),
        None => vec![format!("The input must be an object, not {}", kind_of(input))],
    };
    if found.is_empty() {
        return None;
    }
    let noun = if found.len() == 1 { "issue" } else { "issues" };
    Some(format!(
        "InputValidationError: {tool} failed due to the following {noun}:\n{}",
        found.join("\n")
    ))
}

fn misfits(schema: &Value, fields: &Map<String, Value>) -> Vec<String> {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let required = schema["required"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut found = Vec::new();
    for name in required.iter().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(format!("The required parameter `{name}` is missing"));
        }
    }
    for (name, value) in fields {
        match properties.get(name) {
            None => found.push(format!(
                "An unexpected parameter `{}` was provided",
                shortened(name)
            )),
            Some(property) => found.extend(misfit_of_value(name, property, value)),
        }
    }
    found
}

fn misfit_of_value(name: &str, property: &Value, value: &Value) -> Option<String> {
    let expected = property["type"].as_str().unwrap_or_default();
    let fits = match expected {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        // Of strings: no tool takes a list of anything else.
        "array" => value
            .as_array()
            .is_some_and(|items| items.iter().all(Value::is_string)),
        _ => false,
    };
    if !fits {
        let given = kind_of(value);
        return Some(format!(
            "The parameter `{name}` type is expected as `{expected}` but provided as `{given}`"
        ));
    }
    if let Some(minimum) = property["minimum"].as_i64()
        && value.as_i64().is_some_and(|number| number < minimum)
    {
        return Some(format!("The parameter `{name}` must be at least {minimum}"));
    }
    let allowed = property["enum"].as_array()?;
    if allowed.contains(value) {
        return None;
    }
    let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
    Some(format!(
        "The parameter `{name}` must be one of: {}",
        allowed.join(", ")
    ))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_misfit_names_its_field() {
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "limit": {"type": "integer", "minimum": 1},
                "mode": {"type": "string", "enum": ["a", "b"]},
                "all": {"type": "boolean"},
                "names": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["path"],
            "additionalProperties": false,
        });
        let table = [
            (json!({"path": "x"}), None),
            (json!({"path": "x", "limit": 3, "mode": "b", "all": true}), None),
            (json!({"path": "x", "names": ["a", "b"]}), None),
            (
                json!({"path": "x", "names": ["a", 7]}),
                Some("`names` type is expected as `array`"),
            ),
            (
                json!({"path": "x", "names": "a"}),
                Some("`names` type is expected as `array`"),
            ),
            (json!({}), Some("`path` is missing")),
            (json!([]), Some("must be an object, not array")),
            (
                json!({"path": 3}),
                Some("`path` type is expected as `string` but provided as `number`"),
            ),
            (
                json!({"path": null}),
                Some("`path` type is expected as `string` but provided as `null`"),
            ),
            (
                json!({"path": "x", "limit": "3"}),
                Some("`limit` type is expected as `integer`"),
            ),
            (
                json!({"path": "x", "limit": 1.5}),
                Some("`limit` type is expected as `integer`"),
            ),
            (
                json!({"path": "x", "limit": 0}),
                Some("`limit` must be at least 1"),
            ),
            (
                json!({"path": "x", "limit": -7}),
                Some("`limit` must be at least 1"),
            ),
            (
                json!({"path": "x", "mode": "c"}),
                Some("`mode` must be one of: a, b"),
            ),
            (
                json!({"path": "x", "other": 1}),
                Some("unexpected parameter `other`"),
            ),
        ];
        for (input, expected) in table {
            let found = misfit("Tool", &schema, &input);
            match expected {
                None => assert_eq!(found, None, "{input}"),
                Some(part) => assert!(
                    found.as_deref().is_some_and(|text| text.contains(part)),
                    "{input}: {found:?}"
                ),
            }
        }
    }
}
