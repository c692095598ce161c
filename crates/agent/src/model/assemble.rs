//! A reply put together from stream events, one block at a time. Events out of order make it malformed.

use super::CallError;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stream_json::{Block, Usage};

/// More blocks than any honest reply has.
const MAX_BLOCKS: usize = 4096;

/// What an event means to the loop.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// `message_start`.
    Started,
    /// A block is complete; its `content_block_stop` comes right after.
    Block(Finished),
    /// `message_stop`.
    Done,
    Nothing,
    /// A ping: nothing, and not forwarded either.
    Ping,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finished {
    pub(crate) block: Block,
    /// Why the input of a `tool_use` could not be read; its input is empty then.
    pub(crate) bad_input: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) usage: Usage,
    pub(crate) stop_reason: Option<String>,
    blocks: usize,
    open: Option<Open>,
    started: bool,
    stopped: bool,
}

/// A block under construction.
#[derive(Debug)]
struct Open {
    index: u64,
    block: Map<String, Value>,
    text: String,
    signature: String,
    json: String,
    citations: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        index: u64,
        content_block: Map<String, Value>,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    ContentBlockStop {
        index: u64,
    },
    MessageDelta {
        delta: MessageDelta,
        #[serde(default)]
        usage: Option<Value>,
    },
    MessageStop {},
    Ping {},
    Error {
        error: ApiError,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "citations_delta")]
    Citations { citation: Value },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct MessageDelta {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ApiError {
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) message: String,
}

fn malformed(message: impl Into<String>) -> CallError {
    CallError::Malformed {
        message: message.into(),
    }
}

impl Reply {
    /// Takes the data of one event.
    pub(crate) fn take(&mut self, data: &[u8]) -> Result<Step, CallError> {
        let event = serde_json::from_slice(data).map_err(|error| malformed(error.to_string()))?;
        if self.stopped {
            return Err(malformed("an event after message_stop"));
        }
        match event {
            Event::Ping {} => return Ok(Step::Ping),
            Event::Unknown => return Ok(Step::Nothing),
            Event::Error { error } => {
                return Err(CallError::Api {
                    status: None,
                    kind: error.kind,
                    message: error.message,
                    retry_after: None,
                });
            }
            Event::MessageStart { message } if !self.started => {
                self.started = true;
                self.id = message.id;
                self.model = message.model;
                self.usage = message.usage;
                return Ok(Step::Started);
            }
            _ if !self.started => return Err(malformed("an event before message_start")),
            Event::MessageStart { .. } => return Err(malformed("a second message_start")),
            Event::ContentBlockStart { index, content_block } => self.begin(index, content_block)?,
            Event::ContentBlockDelta { index, delta } => self.extend(index, delta)?,
            Event::ContentBlockStop { index } => return self.finish(index).map(Step::Block),
            Event::MessageDelta { delta, usage } => {
                self.stop_reason = delta.stop_reason.or(self.stop_reason.take());
                self.merge_usage(usage.as_ref());
            }
            Event::MessageStop {} => {
                if self.open.is_some() {
                    return Err(malformed("message_stop inside a block"));
                }
                self.stopped = true;
                return Ok(Step::Done);
            }
        }
        Ok(Step::Nothing)
    }

    /// Whether the API has begun to answer, and so to charge.
    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    /// The text of a block that was cut off; what an interrupt leaves of it.
    pub(crate) fn cut_off_text(&mut self) -> Option<Block> {
        let open = self.open.take()?;
        let is_text = open.block.get("type").and_then(Value::as_str) == Some("text");
        (is_text && !open.text.trim().is_empty()).then(|| Block::text(open.text))
    }

    fn begin(&mut self, index: u64, block: Map<String, Value>) -> Result<(), CallError> {
        if self.open.is_some() || index != self.blocks as u64 {
            return Err(malformed(format!("block {index} starts out of order")));
        }
        if self.blocks >= MAX_BLOCKS {
            return Err(malformed(format!("more than {MAX_BLOCKS} blocks")));
        }
        let text_of = |key: &str| {
            block
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let text = match block.get("type").and_then(Value::as_str) {
            Some("text") => text_of("text"),
            Some("thinking") => text_of("thinking"),
            Some(_) => String::new(),
            None => return Err(malformed("a block without a type")),
        };
        let signature = text_of("signature");
        self.open = Some(Open {
            index,
            block,
            text,
            signature,
            json: String::new(),
            citations: Vec::new(),
        });
        Ok(())
    }

    fn extend(&mut self, index: u64, delta: Delta) -> Result<(), CallError> {
        let Some(open) = self.open.as_mut().filter(|open| open.index == index) else {
            return Err(malformed(format!("a delta for block {index}, which is not open")));
        };
        match delta {
            Delta::Text { text } | Delta::Thinking { thinking: text } => open.text.push_str(&text),
            Delta::InputJson { partial_json } => open.json.push_str(&partial_json),
            Delta::Signature { signature } => open.signature.push_str(&signature),
            Delta::Citations { citation } => open.citations.push(citation),
            Delta::Unknown => {}
        }
        Ok(())
    }

    fn finish(&mut self, index: u64) -> Result<Finished, CallError> {
        let Some(open) = self.open.take().filter(|open| open.index == index) else {
            return Err(malformed(format!("the end of block {index}, which is not open")));
        };
        self.blocks += 1;
        let mut block = open.block;
        let mut bad_input = None;
        match block.get("type").and_then(Value::as_str) {
            Some("text") => {
                block.insert("text".to_owned(), json!(open.text));
                if !open.citations.is_empty() {
                    block.insert("citations".to_owned(), Value::Array(open.citations));
                }
            }
            Some("thinking") => {
                block.insert("thinking".to_owned(), json!(open.text));
                block.insert("signature".to_owned(), json!(open.signature));
            }
            Some("tool_use" | "server_tool_use") if !open.json.trim().is_empty() => {
                match serde_json::from_str::<Value>(&open.json) {
                    Ok(input @ Value::Object(_)) => {
                        block.insert("input".to_owned(), input);
                    }
                    Ok(_) => bad_input = Some("the input is not a JSON object".to_owned()),
                    Err(error) => bad_input = Some(format!("the input is not valid JSON: {error}")),
                }
            }
            _ => {}
        }
        let block: Block =
            serde_json::from_value(Value::Object(block)).map_err(|error| malformed(error.to_string()))?;
        if let Block::Other(other) = &block
            && matches!(
                other.get("type").and_then(Value::as_str),
                Some("text" | "thinking" | "tool_use")
            )
        {
            return Err(malformed(format!("block {index} lacks what its type needs")));
        }
        Ok(Finished { block, bad_input })
    }

    /// Later counts replace earlier ones; what is not named stays.
    fn merge_usage(&mut self, usage: Option<&Value>) {
        let Some(Value::Object(later)) = usage else { return };
        let Ok(Value::Object(mut merged)) = serde_json::to_value(&self.usage) else {
            return;
        };
        merged.extend(
            later
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        if let Ok(usage) = serde_json::from_value(Value::Object(merged)) {
            self.usage = usage;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(events: &[Value]) -> Result<(Reply, Vec<Finished>), CallError> {
        let (mut reply, mut blocks) = (Reply::default(), Vec::new());
        for event in events {
            if let Step::Block(block) = reply.take(event.to_string().as_bytes())? {
                blocks.push(block);
            }
        }
        Ok((reply, blocks))
    }

    fn start() -> Value {
        json!({"type":"message_start","message":{"id":"m","model":"x","usage":{"input_tokens":5,"output_tokens":1,"cache_creation_input_tokens":null}}})
    }

    #[test]
    fn blocks_are_put_together_from_their_deltas() {
        let (reply, blocks) = take_all(&[
            start(),
            json!({"type":"ping"}),
            json!({"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}),
            json!({"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}),
            json!({"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}),
            json!({"type":"content_block_stop","index":0}),
            json!({"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"Bash","input":{}}}),
            json!({"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"command\""}}),
            json!({"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":":\"ls\"}"}}),
            json!({"type":"content_block_stop","index":1}),
            json!({"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9,"input_tokens":null}}),
            json!({"type":"message_stop"}),
        ])
        .unwrap();
        assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (5, 9));
        assert_eq!(reply.stop_reason.as_deref(), Some("tool_use"));
        assert!(
            matches!(&blocks[0].block, Block::Thinking { thinking, signature, .. } if thinking == "hm" && signature == "sig")
        );
        assert!(matches!(&blocks[1].block, Block::ToolUse { input, .. } if input["command"] == "ls"));
    }

    #[test]
    fn tool_input_that_is_no_object_is_flagged_and_empty() {
        for json_text in ["{\"command\":", "[1]", "nonsense"] {
            let (_, blocks) = take_all(&[
                start(),
                json!({"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"Bash","input":{}}}),
                json!({"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":json_text}}),
                json!({"type":"content_block_stop","index":0}),
            ])
            .unwrap();
            assert!(blocks[0].bad_input.is_some(), "{json_text}");
            assert!(matches!(&blocks[0].block, Block::ToolUse { input, .. } if *input == json!({})));
        }
    }

    #[test]
    fn events_out_of_order_are_malformed_and_an_error_event_is_the_api_s() {
        let block = json!({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}});
        let delta = json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}});
        let stop = json!({"type":"message_stop"});
        for events in [
            vec![json!("nonsense")],
            vec![json!({"type":"message_start"})],
            vec![block.clone()],
            vec![start(), start()],
            vec![start(), delta.clone()],
            vec![start(), block.clone(), block.clone()],
            vec![start(), block.clone(), stop.clone()],
            vec![
                start(),
                json!({"type":"content_block_start","index":7,"content_block":{"type":"text"}}),
            ],
            vec![
                start(),
                json!({"type":"content_block_start","index":0,"content_block":{}}),
            ],
            vec![
                start(),
                json!({"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}),
                json!({"type":"content_block_stop","index":0}),
            ],
            vec![start(), stop.clone(), stop],
        ] {
            assert!(
                matches!(take_all(&events), Err(CallError::Malformed { .. })),
                "{events:?}"
            );
        }
        let error = take_all(&[
            start(),
            json!({"type":"error","error":{"type":"overloaded_error","message":"busy"}}),
        ])
        .unwrap_err();
        assert!(error.may_pass());
    }

    #[test]
    fn only_text_is_kept_of_a_block_that_was_cut_off() {
        let (mut reply, _) = take_all(&[
            start(),
            json!({"type":"content_block_start","index":0,"content_block":{"type":"text","text":"he"}}),
            json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"llo"}}),
        ])
        .unwrap();
        assert_eq!(reply.cut_off_text(), Some(Block::text("hello")));
        assert_eq!(reply.cut_off_text(), None);
    }
}
