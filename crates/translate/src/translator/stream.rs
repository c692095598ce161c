//! Previews, from the raw events of a model's stream.

use domain::EventId;
use serde_json::Value;
use wire::{ModelUsage, Preview, Started};

/// Text that is kept to check that the event begins with what was previewed; longer texts are not previewed further.
const MAX_TEXT: usize = 4 << 20;

/// The content block that is being streamed.
#[derive(Debug, Default)]
pub(super) struct Streaming {
    block: Option<StreamedBlock>,
}

#[derive(Debug)]
struct StreamedBlock {
    id: EventId,
    thinking: bool,
    text: String,
}

impl Streaming {
    pub(super) fn reset(&mut self) {
        self.block = None;
    }

    pub(super) fn preview(&mut self, json: &Value) -> Option<Preview> {
        match json["type"].as_str()? {
            "content_block_start" => self.start(json["content_block"]["type"].as_str()?),
            "content_block_delta" => self.delta(json["delta"]["text"].as_str()?),
            "content_block_stop" => {
                self.block = None;
                None
            }
            _ => None,
        }
    }

    fn start(&mut self, kind: &str) -> Option<Preview> {
        let thinking = matches!(kind, "thinking" | "redacted_thinking");
        if !thinking && kind != "text" {
            self.block = None;
            return None;
        }
        let id = EventId::random();
        self.block = Some(StreamedBlock {
            id: id.clone(),
            thinking,
            text: String::new(),
        });
        let kind = if thinking {
            "agent.thinking"
        } else {
            "agent.message"
        };
        Some(Preview::EventStart {
            event: Started {
                kind: kind.to_owned(),
                id,
            },
        })
    }

    fn delta(&mut self, text: &str) -> Option<Preview> {
        let block = self.block.as_mut().filter(|block| !block.thinking)?;
        if text.is_empty() || block.text.len() + text.len() > MAX_TEXT {
            return None;
        }
        block.text.push_str(text);
        Some(Preview::delta(block.id.clone(), text.to_owned()))
    }

    /// The id of the message that turned out to be `text`: the announced one, if what was previewed is its beginning.
    pub(super) fn finish_text(&mut self, text: &str) -> EventId {
        match self.block.take() {
            Some(block) if !block.thinking && text.starts_with(&block.text) => block.id,
            _ => EventId::random(),
        }
    }

    pub(super) fn finish_thinking(&mut self) -> EventId {
        match self.block.take() {
            Some(block) if block.thinking => block.id,
            _ => EventId::random(),
        }
    }
}

/// Later counts of a stream replace earlier ones.
pub(super) fn add_usage(usage: &mut ModelUsage, json: &Value) {
    let fields = [
        ("input_tokens", &mut usage.input_tokens),
        ("output_tokens", &mut usage.output_tokens),
        ("cache_read_input_tokens", &mut usage.cache_read_input_tokens),
        (
            "cache_creation_input_tokens",
            &mut usage.cache_creation_input_tokens,
        ),
    ];
    for (name, count) in fields {
        if let Some(number) = json[name].as_u64() {
            *count = number;
        }
    }
}
