//! Events that clients send.

use crate::content::{ContentBlock, DocumentSource, ImageSource, Text};
use crate::event::Confirmation;
use crate::schema::{
    Field, Schema, Variant, boolean, choice, list, object, optional, required, tagged, text, timestamp,
    unsupported, variant,
};
use crate::{Input, Invalid};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// In one request.
pub const MAX_EVENTS: usize = 100;
const MAX_BLOCKS: usize = 1000;
/// Of one text, or of one file in base 64.
const MAX_TEXT: usize = 32 << 20;
const ID: usize = 64;
const DENY_MESSAGE: usize = 10_000;

#[derive(Debug, Clone, Deserialize)]
pub struct Send {
    pub events: Vec<EventInput>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type")]
pub enum EventInput {
    #[serde(rename = "user.message")]
    UserMessage { content: Vec<ContentBlock> },
    #[serde(rename = "user.interrupt")]
    UserInterrupt {},
    #[serde(rename = "user.tool_confirmation")]
    UserToolConfirmation {
        tool_use_id: String,
        result: Confirmation,
        #[serde(default)]
        deny_message: Option<String>,
    },
    #[serde(rename = "user.custom_tool_result")]
    UserCustomToolResult {
        custom_tool_use_id: String,
        #[serde(default)]
        content: Option<Vec<ContentBlock>>,
        #[serde(default)]
        is_error: Option<bool>,
    },
    #[serde(rename = "system.message")]
    SystemMessage { content: Vec<Text> },
}

impl Input for Send {
    fn schema() -> Schema {
        object([required("events", list(schema(), MAX_EVENTS))]).named("EventsSend")
    }

    fn check(&self) -> Result<(), Invalid> {
        if self.events.is_empty() {
            return Err(Invalid::new("events", "must have at least one event"));
        }
        for (index, event) in self.events.iter().enumerate() {
            let wrong = |invalid: Invalid| invalid.at(index).under("events");
            event.check().map_err(wrong)?;
            if matches!(event, EventInput::SystemMessage { .. }) {
                self.check_place(index).map_err(wrong)?;
            }
        }
        Ok(())
    }
}

impl Send {
    /// A system message is the last event, and goes with the one before it.
    fn check_place(&self, index: usize) -> Result<(), Invalid> {
        let before = index.checked_sub(1).and_then(|before| self.events.get(before));
        let goes_with = matches!(
            before,
            Some(EventInput::UserMessage { .. } | EventInput::UserCustomToolResult { .. })
        );
        if goes_with && index + 1 == self.events.len() {
            return Ok(());
        }
        Err(Invalid::new(
            "type",
            "system.message must be the last event, right after a user.message or a user.custom_tool_result",
        ))
    }
}

impl EventInput {
    /// What the schema cannot say.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::UserMessage { content } => {
                let is_empty =
                    |block: &ContentBlock| block.as_text().is_some_and(|text| text.trim().is_empty());
                if content.iter().all(is_empty) {
                    return Err(Invalid::new(
                        "content",
                        "is empty: give some text, an image or a document",
                    ));
                }
                check_files(content)
            }
            Self::UserCustomToolResult {
                content: Some(content),
                ..
            } => check_files(content),
            Self::UserToolConfirmation {
                result: Confirmation::Allow,
                deny_message: Some(_),
                ..
            } => Err(Invalid::new("deny_message", "goes with the result deny alone")),
            Self::SystemMessage { content } if content.iter().all(|part| part.text.trim().is_empty()) => {
                Err(Invalid::new("content", "is empty: give some text"))
            }
            _ => Ok(()),
        }
    }
}

/// What is no base 64 would be refused by the model, with this message and every later one.
fn check_files(content: &[ContentBlock]) -> Result<(), Invalid> {
    for (index, block) in content.iter().enumerate() {
        let (ContentBlock::Image {
            source: ImageSource::Base64 { data, .. },
        }
        | ContentBlock::Document {
            source: DocumentSource::Base64 { data, .. },
            ..
        }) = block
        else {
            continue;
        };
        STANDARD.decode(data).map_err(|error| {
            Invalid::new("data", format!("is not base 64: {error}"))
                .under("source")
                .at(index)
                .under("content")
        })?;
    }
    Ok(())
}

/// Of one event.
pub fn schema() -> Schema {
    let thread = || optional("session_thread_id", unsupported());
    tagged(
        "type",
        [
            variant(
                "user.message",
                object([required("content", list(block(false), MAX_BLOCKS))]),
            ),
            variant("user.interrupt", object([thread()])),
            variant(
                "user.tool_confirmation",
                object([
                    required("tool_use_id", text(1..=ID)),
                    required("result", choice(["allow", "deny"])),
                    optional("deny_message", text(0..=DENY_MESSAGE).nullable()),
                ]),
            ),
            variant(
                "user.custom_tool_result",
                object([
                    required("custom_tool_use_id", text(1..=ID)),
                    optional("content", list(block(true), MAX_BLOCKS).nullable()),
                    optional("is_error", boolean().nullable()),
                ]),
            ),
            variant(
                "system.message",
                object([required(
                    "content",
                    list(tagged("type", [variant("text", text_block())]), MAX_BLOCKS),
                )]),
            ),
            variant("user.tool_result", unsupported()),
            variant("user.define_outcome", unsupported()),
        ],
    )
}

fn text_block() -> Schema {
    object([required("text", text(0..=MAX_TEXT))])
}

/// A content block of a message, or of a tool's result.
fn block(of_result: bool) -> Schema {
    let image = object([required("source", source(image_types(of_result)))]);
    let document = object([
        required("source", source(document_types(of_result))),
        optional("title", text(0..=1000).nullable()),
        optional("context", text(0..=MAX_TEXT).nullable()),
    ]);
    let mut blocks = vec![
        variant("text", text_block()),
        variant("image", image),
        variant("document", document),
        variant("redacted", unsupported()),
    ];
    if of_result {
        blocks.push(variant("search_result", search_result()));
    }
    tagged("type", blocks)
}

fn image_types(of_result: bool) -> Vec<Variant> {
    let types = choice(["image/jpeg", "image/png", "image/gif", "image/webp"]);
    sources(types, of_result, Vec::new())
}

fn document_types(of_result: bool) -> Vec<Variant> {
    let plain = object([
        required("media_type", choice(["text/plain"])),
        required("data", text(0..=MAX_TEXT)),
    ]);
    sources(
        choice(["application/pdf"]),
        of_result,
        vec![variant("text", plain)],
    )
}

/// A result goes to the agent as a tool's, which holds what it is made of and not where that is.
fn sources(types: Schema, of_result: bool, more: Vec<Variant>) -> Vec<Variant> {
    let url = if of_result {
        unsupported()
    } else {
        object([required("url", text(1..=8192))])
    };
    let fields: [Field; 2] = [
        required("media_type", types),
        required("data", text(1..=MAX_TEXT)),
    ];
    let mut all = vec![
        variant("base64", object(fields)),
        variant("url", url),
        variant("file", unsupported()),
    ];
    all.extend(more);
    all
}

fn source(variants: Vec<Variant>) -> Schema {
    tagged("type", variants)
}

fn search_result() -> Schema {
    let part = tagged("type", [variant("text", text_block())]);
    object([
        required("source", text(1..=8192)),
        required("title", text(0..=1000)),
        required("content", list(part, MAX_BLOCKS)),
        optional("citations", object([required("enabled", boolean())]).nullable()),
    ])
}

/// An event as it is listed and streamed: every type has more fields, by its `type`.
pub fn event_schema() -> Schema {
    object([
        required("id", text(1..=ID)),
        required("type", text(1..=ID)),
        required("processed_at", timestamp().nullable()),
    ])
    .open()
    .named("Event")
}

/// The answer to events that were sent.
pub fn sent_schema() -> Schema {
    object([required("data", list(event_schema(), 2 * MAX_EVENTS))]).named("EventsSent")
}
