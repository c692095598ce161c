//! Requests that would have the model API itself reach the outside: web search and fetch, MCP servers that the API
//! connects to, images and documents by URL. They are a way around a session's egress rules, so what a session may
//! reach by them is granted with it.

use policy::{Destination, Rules};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

const WEB_SEARCH: &str = "web_search";
/// Tools that the API runs and that leave it; ids carry a date behind these.
const REACHING_TOOLS: [&str; 3] = [WEB_SEARCH, "web_fetch", "mcp_toolset"];
/// Free-form JSON, in which nothing is an instruction to the API.
const OPAQUE_KEYS: [&str; 2] = ["input", "input_schema"];
const SHOWN_CHARACTERS: usize = 200;

/// What of the outside the model API may reach on a session's behalf. By default, nothing.
#[derive(Debug, Clone, Default)]
pub struct OutsideReach {
    /// Its search tool.
    pub web_search: bool,
    /// Images and documents by URL, from where these allow.
    pub urls: Rules,
}

/// Something in a request that reaches the outside.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Tool(String),
    McpServer,
    /// A source says that it is one by URL.
    SourceByUrl,
    Url(String),
}

impl OutsideReach {
    /// Why a request is not for this session to make; nothing if it is.
    pub(crate) fn refuse(&self, body: &[u8]) -> Option<String> {
        match find(body) {
            Ok(wishes) => wishes.iter().find_map(|wish| self.refuse_one(wish)),
            // Whatever is not understood here could be there.
            Err(error) => Some(format!("the request's body cannot be read: {error}")),
        }
    }

    fn refuse_one(&self, wish: &Wish) -> Option<String> {
        let what = match wish {
            Wish::SourceByUrl => return None,
            Wish::Url(url) => return self.refuse_url(url),
            Wish::Tool(tool) if tool.starts_with(WEB_SEARCH) && self.web_search => return None,
            Wish::Tool(tool) if tool.starts_with(WEB_SEARCH) => {
                return Some(format!(
                    "{tool}: web search is not among the tools of this session's agent"
                ));
            }
            Wish::Tool(tool) => format!("the tool {tool}"),
            Wish::McpServer => "an MCP server".to_owned(),
        };
        Some(format!(
            "{what} would have the model API reach the outside, which no session may"
        ))
    }

    fn refuse_url(&self, url: &str) -> Option<String> {
        let why = match Destination::of_url(url) {
            Err(error) => error.to_string(),
            Ok(destination) => {
                let decision = self.urls.decide(&destination);
                if decision.allowed {
                    return None;
                }
                decision.reason.to_string()
            }
        };
        Some(format!(
            "the model API would fetch {} for an image or document, which this session's network policy does not \
             allow: {why}",
            shown(url)
        ))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS).collect()
}

fn find(body: &[u8]) -> Result<Vec<Wish>, serde_json::Error> {
    let mut wishes = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let walk = Walk {
        place: Place::Top,
        wishes: &mut wishes,
    };
    walk.deserialize(&mut deserializer)?;
    Ok(wishes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Tools,
    McpServers,
    Source,
    SourceType,
    SourceUrl,
    ToolType,
    Elsewhere,
}

struct Walk<'found> {
    place: Place,
    wishes: &'found mut Vec<Wish>,
}

impl Walk<'_> {
    fn place_of(&self, key: &str) -> Place {
        match (self.place, key) {
            (Place::Top, "tools") => Place::Tools,
            (Place::Top, "mcp_servers") => Place::McpServers,
            (Place::Tools, "type") => Place::ToolType,
            (Place::Source, "type") => Place::SourceType,
            (Place::Source, "url") => Place::SourceUrl,
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

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.place {
            Place::SourceType if text == "url" => self.wishes.push(Wish::SourceByUrl),
            Place::SourceUrl => self.wishes.push(Wish::Url(text.to_owned())),
            Place::ToolType if REACHING_TOOLS.iter().any(|tool| text.starts_with(tool)) => {
                self.wishes.push(Wish::Tool(shown(text)));
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list
            .next_element_seed(Walk {
                place: self.place,
                wishes: &mut *self.wishes,
            })?
            .is_some()
        {
            if self.place == Place::McpServers {
                self.wishes.push(Wish::McpServer);
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let before = self.wishes.len();
        while let Some(key) = map.next_key::<String>()? {
            if OPAQUE_KEYS.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else {
                let place = self.place_of(&key);
                map.next_value_seed(Walk {
                    place,
                    wishes: &mut *self.wishes,
                })?;
            }
        }
        if self.place == Place::Source {
            // A key that is given twice counts twice: two readers could take one each.
            let mine = &self.wishes[before..];
            if !mine.contains(&Wish::SourceByUrl) {
                self.wishes.truncate(before);
            } else if !mine.iter().any(|wish| matches!(wish, Wish::Url(_))) {
                return Err(A::Error::custom("a source by URL has no url"));
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

    fn refused(reach: &OutsideReach, body: &str) -> String {
        reach.refuse(body.as_bytes()).unwrap_or_default()
    }

    #[test]
    fn whatever_leaves_the_api_is_found() {
        for (body, part) in [
            (
                r#"{"tools":[{"name":"Bash"},{"type":"web_fetch_20250910","name":"web_fetch"}]}"#,
                "web_fetch_20250910",
            ),
            (
                r#"{"tools":[{"type":"web_search_20250305"}]}"#,
                "web_search_20250305",
            ),
            (
                r#"{"mcp_servers":[{"type":"url","url":"http://x"}]}"#,
                "an MCP server",
            ),
            (
                r#"{"messages":[{"content":[{"type":"image","source":{"type":"url","url":"http://x"}}]}]}"#,
                "fetch http://x",
            ),
            (
                r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image","source":{"url":"x","type":"url"}}]}]}]}"#,
                "fetch x",
            ),
            (
                r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64"},"source":{"url":"x","type":"\u0075rl"}}]}]}"#,
                "fetch x",
            ),
            (
                r#"{"messages":[{"content":[{"type":"image","source":{"type":"url","uri":"http://x"}}]}]}"#,
                "has no url",
            ),
        ] {
            let said = refused(&OutsideReach::default(), body);
            assert!(said.contains(part), "{body}: {said}");
        }
    }

    #[test]
    fn what_is_granted_is_not_refused_and_nothing_else_is_granted_with_it() {
        let reach = OutsideReach {
            web_search: true,
            urls: Rules::parse(["*.example.com"]).unwrap(),
        };
        let image = |source: &str| {
            format!(r#"{{"messages":[{{"content":[{{"type":"image","source":{{{source}}}}}]}}]}}"#)
        };
        for body in [
            r#"{"tools":[{"type":"web_search_20250305"}]}"#.to_owned(),
            image(r#""type":"url","url":"https://images.example.com/a.png""#),
        ] {
            assert_eq!(refused(&reach, &body), "", "{body}");
        }
        for (body, part) in [
            (
                r#"{"tools":[{"type":"web_search_20250305"},{"type":"web_fetch_20250910"}]}"#.to_owned(),
                "web_fetch",
            ),
            (
                image(r#""type":"url","url":"https://images.example.org/a.png""#),
                "no rule allows it",
            ),
            (
                image(r#""type":"url","url":"https://a.example.com/","url":"https://b.example.org/""#),
                "b.example.org",
            ),
            (
                image(r#""type":"url","type":"base64","url":"https://b.example.org/""#),
                "b.example.org",
            ),
            (
                image(r#""type":"url","url":"https://a.example.com@b.example.org/""#),
                "it has a user name",
            ),
        ] {
            let said = refused(&reach, &body);
            assert!(said.contains(part), "{body}: {said}");
        }
    }

    #[test]
    fn what_is_too_deep_to_be_looked_through_is_refused() {
        let body = format!(
            r#"{{"model":"m","x":{}{},"tools":[{{"type":"web_fetch_20250910"}}]}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        assert!(refused(&OutsideReach::default(), &body).contains("recursion limit"));
    }

    #[test]
    fn what_an_agent_does_every_day_is_not() {
        for body in [
            r#"{"tools":[{"name":"Fetch","input_schema":{"properties":{"source":{"type":"url"}}}}],"mcp_servers":[]}"#,
            r#"{"tools":[{"type":"bash_20250124"},{"type":"text_editor_20250728"}]}"#,
            r#"{"messages":[{"content":[{"type":"tool_use","input":{"source":{"type":"url"}}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"x"}}]}],"metadata":{"source":null}}"#,
            r#"{"messages":[{"content":[{"type":"search_result","source":"http://x","title":"t"}]}]}"#,
            r#"{"messages":[{"content":"use web_search and {\"source\":{\"type\":\"url\"}}"}]}"#,
        ] {
            assert_eq!(refused(&OutsideReach::default(), body), "", "{body}");
        }
    }
}
