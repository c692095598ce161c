//! The body of a call. Only what the features in use need is in it; the cache is marked on the last system block and
//! the last block of the last message.

use crate::conversation::Conversation;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// A tool as the API takes it; kept serialised form stable from call to call, or the cache misses.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ToolDefinition {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) input_schema: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// Left to the model's default.
    Unset,
    Disabled,
    Adaptive,
    Budget(u64),
}

/// What a call says of itself in headers.
#[derive(Debug, Clone)]
pub(crate) struct CallHeaders {
    pub(super) session_id: String,
    pub(super) betas: Vec<&'static str>,
}

/// Everything of one call but its transport.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) model: &'a str,
    pub(crate) max_tokens: u64,
    pub(crate) system: &'a [String],
    pub(crate) tools: &'a [ToolDefinition],
    /// Tools that the API runs itself, as it takes them.
    pub(crate) server_tools: &'a [Value],
    pub(crate) conversation: &'a Conversation,
    pub(crate) thinking: Thinking,
    pub(crate) effort: Option<&'a str>,
    pub(crate) task_budget: Option<u64>,
    pub(crate) cache: Option<&'a Value>,
    pub(crate) session_id: &'a str,
    /// Tools stay listed for the cache's sake, but may not be called.
    pub(crate) forbids_tools: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    system: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Offered<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    messages: Vec<crate::conversation::RequestMessage<'a>>,
    metadata: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
    stream: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Offered<'a> {
    Own(&'a ToolDefinition),
    OfServer(&'a Value),
}

pub(crate) fn cache_control(one_hour: bool) -> Value {
    if one_hour {
        json!({"type":"ephemeral","ttl":"1h"})
    } else {
        json!({"type":"ephemeral"})
    }
}

impl Request<'_> {
    pub(crate) fn body(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut system: Vec<Value> = self
            .system
            .iter()
            .filter(|text| !text.is_empty())
            .map(|text| json!({"type":"text","text":text}))
            .collect();
        if let (Some(cache), Some(last)) = (self.cache, system.last_mut()) {
            last["cache_control"] = cache.clone();
        }
        serde_json::to_vec(&Body {
            model: self.model,
            max_tokens: self.max_tokens,
            system,
            tools: self
                .tools
                .iter()
                .map(Offered::Own)
                .chain(self.server_tools.iter().map(Offered::OfServer))
                .collect(),
            tool_choice: (self.forbids_tools && !self.tools.is_empty()).then(|| json!({"type":"none"})),
            messages: self.conversation.to_request(self.cache),
            metadata: json!({"user_id": json!({"session_id": self.session_id}).to_string()}),
            thinking: self.thinking(),
            output_config: self.output_config(),
            stream: true,
        })
    }

    fn thinking(&self) -> Option<Value> {
        match self.thinking {
            Thinking::Unset => None,
            Thinking::Disabled => Some(json!({"type":"disabled"})),
            Thinking::Adaptive => Some(json!({"type":"adaptive"})),
            // The API wants at least 1,024 and less than max_tokens.
            Thinking::Budget(tokens) => {
                let tokens = tokens.max(1024).min(self.max_tokens.saturating_sub(1));
                Some(json!({"type":"enabled","budget_tokens":tokens}))
            }
        }
    }

    fn output_config(&self) -> Option<Value> {
        let mut config = serde_json::Map::new();
        if let Some(effort) = self.effort {
            config.insert("effort".to_owned(), json!(effort));
        }
        if let Some(tokens) = self.task_budget {
            config.insert("task_budget".to_owned(), json!({"type":"tokens","total":tokens}));
        }
        (!config.is_empty()).then_some(Value::Object(config))
    }

    pub(crate) fn headers(&self) -> CallHeaders {
        CallHeaders {
            session_id: self.session_id.to_owned(),
            betas: self.betas(),
        }
    }

    /// The betas that the features of this call need.
    fn betas(&self) -> Vec<&'static str> {
        let mut betas = Vec::new();
        if matches!(self.thinking, Thinking::Budget(_)) {
            betas.push("interleaved-thinking-2025-05-14");
        }
        if self.effort.is_some() {
            betas.push("effort-2025-11-24");
        }
        if self.task_budget.is_some() {
            betas.push("task-budgets-2026-03-13");
        }
        betas
    }
}

/// Between 0 and 1, for the jitter of retries.
pub(crate) fn random_fraction() -> f64 {
    (Uuid::new_v4().as_u128() & 0xffff) as f64 / 65_535.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream_json::{Block, Role};

    #[test]
    fn the_cache_is_marked_twice_and_never_on_tools() {
        let mut conversation = Conversation::default();
        conversation.push(Role::User, [Block::text("a")]);
        let cache = cache_control(false);
        let request = Request {
            model: "m",
            max_tokens: 100,
            system: &["one".to_owned(), "two".to_owned(), String::new()],
            tools: &[ToolDefinition {
                name: "Bash".into(),
                description: "d".into(),
                input_schema: json!({"type":"object"}),
            }],
            server_tools: &[json!({"type":"web_search_20250305","name":"web_search"})],
            conversation: &conversation,
            thinking: Thinking::Budget(5),
            effort: Some("high"),
            task_budget: None,
            cache: Some(&cache),
            session_id: "s",
            forbids_tools: false,
        };
        let body: Value = serde_json::from_slice(&request.body().unwrap()).unwrap();
        assert_eq!(body.to_string().matches("cache_control").count(), 2);
        assert_eq!(body["system"][1]["cache_control"], cache);
        assert_eq!(body["messages"][0]["content"][0]["cache_control"], cache);
        assert_eq!(body["thinking"], json!({"type":"enabled","budget_tokens":99}));
        assert_eq!(body["output_config"], json!({"effort":"high"}));
        assert_eq!(body["tools"][1]["type"], "web_search_20250305");
        assert!(body.get("tool_choice").is_none());
        assert_eq!(
            request.betas(),
            ["interleaved-thinking-2025-05-14", "effort-2025-11-24"]
        );
    }
}
