//! The tools a server lists, page by page: what a model can use of them is kept, the rest is counted and named.

use crate::message::shortened;
use crate::name::{bare, qualified};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// Pages of one list; a cursor that never ends is cut off here.
pub const MAX_PAGES: usize = 100;

/// Tools of one server.
const MAX_TOOLS: usize = 512;

/// All names, descriptions and schemas of one server's tools together: they are sent with every model call.
const MAX_BYTES: usize = 1 << 20;
const MAX_SCHEMA_BYTES: usize = 64 << 10;
const MAX_DESCRIPTION_CHARACTERS: usize = 2_048;

/// How many reasons for leaving tools out are told.
const MAX_REASONS: usize = 3;

/// A tool as a model can be told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// As the server calls it.
    pub name: String,
    /// As the model calls it: `mcp__<server>__<name>`, or by its name alone where the host says so.
    pub qualified: String,
    pub description: String,
    /// An object schema.
    pub input_schema: Value,
    /// Hints of the server: shown to hosts, never trusted.
    pub read_only: Option<bool>,
    pub destructive: Option<bool>,
    pub open_world: Option<bool>,
}

/// What a server has listed so far.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Tools are called by their names alone.
    bare: bool,
    tools: Vec<Tool>,
    bytes: usize,
    left_out: usize,
    reasons: Vec<String>,
}

impl Catalogue {
    /// Of tools that models call by their names alone, if they are `bare`.
    pub fn new(bare: bool) -> Self {
        Self {
            bare,
            ..Self::default()
        }
    }

    /// Takes one page of `tools/list`; the cursor of the next one, if there is one.
    pub fn add_page(&mut self, server: &str, page: &Value) -> Option<String> {
        for entry in page["tools"].as_array().into_iter().flatten() {
            match self.admit(server, entry) {
                Ok(tool) => self.tools.push(tool),
                Err(reason) => self.leave_out(reason),
            }
        }
        let cursor = page["nextCursor"].as_str()?;
        (!cursor.is_empty() && self.tools.len() < MAX_TOOLS).then(|| cursor.to_owned())
    }

    /// The tools whose names are free, which are taken then, and what was left out and why, in words.
    pub fn finish(mut self, taken: &mut HashSet<String>) -> (Vec<Tool>, Option<String>) {
        let (free, rest): (Vec<Tool>, Vec<Tool>) = std::mem::take(&mut self.tools)
            .into_iter()
            .partition(|tool| taken.insert(tool.qualified.clone()));
        for tool in rest {
            self.leave_out(is_taken(&tool.qualified));
        }
        let complaint = (self.left_out > 0).then(|| {
            format!(
                "{} of its tools cannot be offered: {}",
                self.left_out,
                self.reasons.join("; ")
            )
        });
        (free, complaint)
    }

    fn leave_out(&mut self, reason: String) {
        self.left_out += 1;
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(reason);
        }
    }

    fn admit(&mut self, server: &str, entry: &Value) -> Result<Tool, String> {
        let name = entry["name"].as_str().unwrap_or_default();
        let shown = shortened(name, 100);
        let called = if self.bare {
            bare(name)
        } else {
            qualified(server, name)
        };
        let qualified = called.ok_or_else(|| format!("{shown:?} is not a name that a tool can have"))?;
        if self.tools.len() >= MAX_TOOLS {
            return Err(format!("there are more than {MAX_TOOLS}"));
        }
        if self.tools.iter().any(|tool| tool.qualified == qualified) {
            return Err(is_taken(&qualified));
        }
        let input_schema =
            schema(&entry["inputSchema"]).map_err(|reason| format!("the schema of {shown:?} {reason}"))?;
        let description = shortened(
            entry["description"].as_str().unwrap_or_default(),
            MAX_DESCRIPTION_CHARACTERS,
        );
        let bytes = qualified.len() + description.len() + input_schema.to_string().len();
        if self.bytes + bytes > MAX_BYTES {
            return Err(format!("their descriptions are larger than {MAX_BYTES} bytes"));
        }
        self.bytes += bytes;
        let hint = |key: &str| entry["annotations"][key].as_bool();
        Ok(Tool {
            name: name.to_owned(),
            qualified,
            description,
            input_schema,
            read_only: hint("readOnlyHint"),
            destructive: hint("destructiveHint"),
            open_world: hint("openWorldHint"),
        })
    }
}

fn is_taken(qualified: &str) -> String {
    format!("another tool is called {qualified} already")
}

/// A schema that the Messages API takes: one refused schema would fail every call of the session.
fn schema(given: &Value) -> Result<Value, String> {
    let mut schema = match given {
        Value::Null => Map::new(),
        Value::Object(schema) => schema.clone(),
        _ => return Err("is not an object".to_owned()),
    };
    match schema.get("type") {
        None => {
            schema.insert("type".to_owned(), json!("object"));
        }
        Some(kind) if kind == "object" => {}
        Some(_) => return Err("does not describe an object".to_owned()),
    }
    if let Some(key) = ["oneOf", "anyOf", "allOf"]
        .iter()
        .find(|&&key| schema.contains_key(key))
    {
        return Err(format!("has {key} at its top, which the model API does not take"));
    }
    match schema.get("properties") {
        None => {
            schema.insert("properties".to_owned(), json!({}));
        }
        Some(Value::Object(properties)) => {
            if let Some(name) = properties.keys().find(|name| !is_property_name(name)) {
                return Err(format!(
                    "names a property {:?}, which the model API does not take",
                    shortened(name, 100)
                ));
            }
        }
        Some(_) => return Err("has properties that are not an object".to_owned()),
    }
    let schema = Value::Object(schema);
    if schema.to_string().len() > MAX_SCHEMA_BYTES {
        return Err(format!("is larger than {MAX_SCHEMA_BYTES} bytes"));
    }
    Ok(schema)
}

fn is_property_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(tools: &Value) -> (Vec<Tool>, Option<String>) {
        let mut catalogue = Catalogue::default();
        let page = json!({"tools": tools});
        assert_eq!(catalogue.add_page("s", &page), None);
        catalogue.finish(&mut HashSet::new())
    }

    #[test]
    fn tools_come_with_their_schema_and_hints_over_all_pages() {
        let mut catalogue = Catalogue::default();
        let first = json!({"tools":[{"name":"a b","description":"adds","inputSchema":{"type":"object","properties":{"x":{"type":"number"}}},
            "annotations":{"readOnlyHint":true,"title":"A"}}],"nextCursor":"2"});
        assert_eq!(catalogue.add_page("s", &first).as_deref(), Some("2"));
        assert_eq!(catalogue.add_page("s", &json!({"tools":[{"name":"c"}]})), None);
        let (tools, complaint) = catalogue.finish(&mut HashSet::new());
        let [a, c] = tools.as_slice() else {
            panic!("two tools")
        };
        assert_eq!(
            (a.name.as_str(), a.qualified.as_str(), a.description.as_str()),
            ("a b", "mcp__s__a_b", "adds")
        );
        assert_eq!((a.read_only, a.destructive), (Some(true), None));
        assert_eq!(c.input_schema, json!({"type":"object","properties":{}}));
        assert_eq!(complaint, None);
    }

    #[test]
    fn what_would_fail_every_model_call_is_left_out_and_named() {
        let big = "x".repeat(MAX_SCHEMA_BYTES);
        for (tool, reason) in [
            (json!({}), "is not a name"),
            (json!("tool"), "is not a name"),
            (json!({"name":"x".repeat(130)}), "is not a name"),
            (json!({"name":"t","inputSchema":[]}), "is not an object"),
            (
                json!({"name":"t","inputSchema":{"type":"string"}}),
                "does not describe an object",
            ),
            (json!({"name":"t","inputSchema":{"anyOf":[]}}), "anyOf"),
            (
                json!({"name":"t","inputSchema":{"properties":[]}}),
                "not an object",
            ),
            (json!({"name":"t","inputSchema":{"properties":{"a b":{}}}}), "a b"),
            (json!({"name":"t","inputSchema":{"title":big}}), "larger than"),
            (json!({"name":"good"}), "another tool"),
        ] {
            let (tools, complaint) = listed(&json!([{"name":"good"}, tool]));
            assert_eq!(tools.len(), 1, "{reason}");
            let complaint = complaint.unwrap();
            assert!(
                complaint.starts_with("1 of its tools") && complaint.contains(reason),
                "{complaint}"
            );
        }
    }

    #[test]
    fn a_name_that_another_server_s_tool_has_already_is_left_out() {
        let mut taken = HashSet::new();
        let listed = |server: &str, taken: &mut HashSet<String>| {
            let mut catalogue = Catalogue::default();
            catalogue.add_page(server, &json!({"tools":[{"name":"t"}]}));
            catalogue.finish(taken)
        };
        assert_eq!(listed("a b", &mut taken).0.len(), 1);
        let (tools, complaint) = listed("a_b", &mut taken);
        assert!(tools.is_empty() && complaint.unwrap().contains("mcp__a_b__t"));
    }

    #[test]
    fn a_thousand_tools_and_megabytes_of_words_are_cut_off() {
        let many: Vec<Value> = (0..1000).map(|n| json!({"name":format!("t{n}")})).collect();
        let (tools, complaint) = listed(&json!(many));
        assert_eq!(tools.len(), MAX_TOOLS);
        assert!(complaint.unwrap().starts_with("488 of its tools"));
        let wordy: Vec<Value> = (0..400)
            .map(|n| json!({"name":format!("t{n}"),"description":"é".repeat(9_000)}))
            .collect();
        let (tools, complaint) = listed(&json!(wordy));
        let bytes: usize = tools.iter().map(|tool| tool.description.len()).sum();
        assert!(bytes <= MAX_BYTES && tools.len() > 100, "{bytes}");
        assert!(complaint.unwrap().contains("larger than"));
    }

    #[test]
    fn pages_that_are_nonsense_list_nothing() {
        for page in [json!({}), json!({"tools":7,"nextCursor":""}), json!([])] {
            let mut catalogue = Catalogue::default();
            assert_eq!(catalogue.add_page("s", &page), None, "{page}");
            assert!(catalogue.finish(&mut HashSet::new()).0.is_empty());
        }
    }

    #[test]
    fn tools_may_have_their_names_alone() {
        let mut catalogue = Catalogue::new(true);
        catalogue.add_page(
            "s",
            &json!({"tools": [{"name": "get weather"}, {"name": "Bash"}]}),
        );
        let mut taken = HashSet::from(["Bash".to_owned()]);
        let (tools, complaint) = catalogue.finish(&mut taken);
        assert_eq!((tools.len(), tools[0].qualified.as_str()), (1, "get_weather"));
        assert!(complaint.unwrap().contains("Bash"));
    }
}
