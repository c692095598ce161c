//! A tool's input held against its schema: the keywords that tool definitions use, at one level.
//!
//! Deeper structure is the tool's own to check; this catches what models get wrong: a key missing, misspelt, or of
//! the wrong type.

use serde_json::Value;

/// What is wrong, in words for the model; empty if nothing is.
pub(crate) fn check(schema: &Value, input: &Value) -> Vec<String> {
    let Some(input) = input.as_object() else {
        return vec!["the input must be an object".to_owned()];
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut wrong = Vec::new();
    for key in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !input.contains_key(key) {
            wrong.push(format!("the required parameter `{key}` is missing"));
        }
    }
    for (key, value) in input {
        match properties.and_then(|properties| properties.get(key)) {
            Some(property) => wrong.extend(check_value(key, property, value)),
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                wrong.push(format!("an unexpected parameter `{key}` was provided"));
            }
            None => {}
        }
    }
    wrong
}

fn check_value(key: &str, property: &Value, value: &Value) -> Option<String> {
    if let Some(kind) = property.get("type").and_then(Value::as_str)
        && !is_a(kind, value)
    {
        return Some(format!(
            "the parameter `{key}` must be of type {kind}, not {}",
            name_of(value)
        ));
    }
    let choices = property.get("enum").and_then(Value::as_array)?;
    (!choices.contains(value)).then(|| {
        let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
        format!("the parameter `{key}` must be one of {}", choices.join(", "))
    })
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn inputs_are_held_against_the_schema() {
        let schema = json!({"type":"object","additionalProperties":false,"required":["command"],"properties":{
            "command":{"type":"string"},"timeout":{"type":"integer"},"mode":{"type":"string","enum":["a","b"]}}});
        for (input, wrong) in [
            (json!({"command":"ls"}), ""),
            (json!({"command":"ls","timeout":5.0,"mode":"a"}), ""),
            (json!({}), "the required parameter `command` is missing"),
            (
                json!({"command":["ls"]}),
                "the parameter `command` must be of type string, not array",
            ),
            (
                json!({"command":"ls","timeout":1.5}),
                "the parameter `timeout` must be of type integer, not number",
            ),
            (
                json!({"command":"ls","cmd":1}),
                "an unexpected parameter `cmd` was provided",
            ),
            (
                json!({"command":"ls","mode":"c"}),
                "the parameter `mode` must be one of \"a\", \"b\"",
            ),
            (json!("ls"), "the input must be an object"),
        ] {
            assert_eq!(check(&schema, &input).join("; "), wrong, "{input}");
        }
    }
}
