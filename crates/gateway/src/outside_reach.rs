//! Requests that would have the model API itself reach the outside: web search and fetch, MCP servers that the API
//! connects to, images and documents by URL. They are a way around a session's egress rules.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Tools that the API runs and that leave it; ids carry a date behind these.
const REACHING_TOOLS: [&str; 3] = ["web_search", "web_fetch", "mcp_toolset"];
/// Free-form JSON, in which nothing is an instruction to the API.
const OPAQUE_KEYS: [&str; 2] = ["input", "input_schema"];

/// What in a request reaches the outside; nothing if the request does not, or is no JSON.
pub(crate) fn find(body: &[u8]) -> Option<String> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let walk = Walk {
        place: Place::Top,
        found: &mut found,
    };
    walk.deserialize(&mut deserializer).ok()?;
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Tools,
    McpServers,
    Source,
    SourceType,
    ToolType,
    Elsewhere,
}

struct Walk<'found> {
    place: Place,
    found: &'found mut Option<String>,
}

impl Walk<'_> {
    fn note(&mut self, what: String) {
        self.found.get_or_insert(what);
    }

    fn place_of(&self, key: &str) -> Place {
        match (self.place, key) {
            (Place::Top, "tools") => Place::Tools,
            (Place::Top, "mcp_servers") => Place::McpServers,
            (Place::Tools, "type") => Place::ToolType,
            (Place::Source, "type") => Place::SourceType,
            (_, "source") => Place::Source,
            _ => Place::Elsewhere,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        match self.place {
            Place::SourceType if text == "url" => self.note("an image or document by URL".to_owned()),
            Place::ToolType if REACHING_TOOLS.iter().any(|tool| text.starts_with(tool)) => {
                let shown: String = text.chars().take(64).collect();
                self.note(format!("the tool {shown}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while list
            .next_element_seed(Walk {
                place: self.place,
                found: &mut *self.found,
            })?
            .is_some()
        {
            if self.place == Place::McpServers {
                self.note("an MCP server".to_owned());
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if OPAQUE_KEYS.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else {
                let place = self.place_of(&key);
                map.next_value_seed(Walk {
                    place,
                    found: &mut *self.found,
                })?;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_leaves_the_api_is_found() {
        for (body, part) in [
            (
                r#"{"tools":[{"name":"Bash"},{"type":"web_fetch_20250910","name":"web_fetch"}]}"#,
                "web_fetch",
            ),
            (r#"{"tools":[{"type":"web_search_20250305"}]}"#, "web_search"),
            (r#"{"mcp_servers":[{"type":"url","url":"http://x"}]}"#, "MCP"),
            (
                r#"{"messages":[{"content":[{"type":"image","source":{"type":"url","url":"http://x"}}]}]}"#,
                "URL",
            ),
            (
                r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image","source":{"url":"x","type":"url"}}]}]}]}"#,
                "URL",
            ),
            (
                r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64"},"source":{"type":"\u0075rl"}}]}]}"#,
                "URL",
            ),
        ] {
            assert!(
                find(body.as_bytes()).is_some_and(|found| found.contains(part)),
                "{body}"
            );
        }
    }

    #[test]
    fn what_an_agent_does_every_day_is_not() {
        for body in [
            r#"{"tools":[{"name":"Fetch","input_schema":{"properties":{"source":{"type":"url"}}}}],"mcp_servers":[]}"#,
            r#"{"tools":[{"type":"bash_20250124"},{"type":"text_editor_20250728"}]}"#,
            r#"{"messages":[{"content":[{"type":"tool_use","input":{"source":{"type":"url"}}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"x"}}]}],"metadata":{"source":null}}"#,
            r#"{"messages":[{"content":"use web_search and {\"source\":{\"type\":\"url\"}}"}]}"#,
        ] {
            assert_eq!(find(body.as_bytes()), None, "{body}");
        }
    }
}
