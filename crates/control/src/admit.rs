//! Which inputs are taken: what no agent can be given is refused before it is stored. Pure.

use crate::{Input, SendError};
use translate::message::block_json;
use wire::{ContentBlock, DocumentSource, ImageSource};

/// Checks inputs before they are stored.
pub(crate) fn inputs(inputs: &[Input], most_bytes: usize) -> Result<(), SendError> {
    if inputs.is_empty() {
        return Err(SendError::Empty);
    }
    for input in inputs {
        match input {
            Input::Message { content } => admit_content(content, most_bytes, true)?,
            Input::CustomToolResult {
                content: Some(content),
                ..
            } => admit_content(content, most_bytes, false)?,
            Input::System { content } => {
                if content.iter().all(|part| part.text.trim().is_empty()) {
                    return Err(SendError::Empty);
                }
                admit_bytes(content.iter().map(|part| part.text.len()).sum(), most_bytes)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn admit_content(content: &[ContentBlock], most_bytes: usize, is_message: bool) -> Result<(), SendError> {
    let mut bytes = 0;
    let mut has_something = false;
    for block in content {
        let json = match block {
            ContentBlock::SearchResult { .. } if !is_message => serde_json::to_value(block).ok(),
            _ if !is_message && is_by_url(block) => None,
            _ => block_json(block),
        };
        let json = json.ok_or_else(|| SendError::Block { kind: kind(block) })?;
        bytes += json.to_string().len();
        has_something |= block.as_text().is_none_or(|text| !text.trim().is_empty());
    }
    if is_message && !has_something {
        return Err(SendError::Empty);
    }
    admit_bytes(bytes, most_bytes)
}

fn admit_bytes(bytes: usize, limit: usize) -> Result<(), SendError> {
    if bytes > limit {
        return Err(SendError::TooLarge { bytes, limit });
    }
    Ok(())
}

/// A tool's result holds what it is made of, and not where that is.
fn is_by_url(block: &ContentBlock) -> bool {
    matches!(
        block,
        ContentBlock::Image {
            source: ImageSource::Url { .. }
        } | ContentBlock::Document {
            source: DocumentSource::Url { .. },
            ..
        }
    )
}

fn kind(block: &ContentBlock) -> String {
    let json = serde_json::to_value(block).unwrap_or_default();
    let kind = json["type"].as_str().unwrap_or_default();
    match json["source"]["type"].as_str() {
        Some(source) => format!("{kind} from {source}"),
        None => kind.chars().take(64).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::EventId;
    use serde_json::{Value, json};

    fn blocks(json: Value) -> Vec<ContentBlock> {
        serde_json::from_value(json).unwrap()
    }

    fn message(json: Value) -> [Input; 1] {
        let content = blocks(json);
        [Input::Message { content }]
    }

    #[test]
    fn what_a_model_cannot_be_given_is_refused_by_name() {
        for (json, name) in [
            (json!([{"type":"redacted"}]), "redacted"),
            (
                json!([{"type":"image","source":{"type":"file","file_id":"f"}}]),
                "image from file",
            ),
            (json!([{"type":"hologram"}]), "hologram"),
        ] {
            assert!(matches!(inputs(&message(json), 1000), Err(SendError::Block { kind }) if kind == name));
        }
        assert!(matches!(inputs(&[], 1000), Err(SendError::Empty)));
        for json in [json!([]), json!([{"type":"text","text":" \n"}])] {
            assert!(matches!(inputs(&message(json), 1000), Err(SendError::Empty)));
        }
        let long = message(json!([{"type":"text","text":"x".repeat(1000)}]));
        assert!(matches!(
            inputs(&long, 1000),
            Err(SendError::TooLarge { limit: 1000, .. })
        ));
        assert!(inputs(&long, 2000).is_ok());
        let text = "x".repeat(1001);
        let content = vec![wire::Text { text }];
        let note = [Input::System { content }];
        assert!(matches!(
            inputs(&note, 1000),
            Err(SendError::TooLarge { bytes: 1001, .. })
        ));
        assert!(inputs(&note, 2000).is_ok());
    }

    #[test]
    fn a_result_holds_what_it_is_made_of() {
        let result = |json: Value| {
            let content = Some(blocks(json));
            [Input::CustomToolResult {
                custom_tool_use_id: EventId::random(),
                content,
                is_error: None,
            }]
        };
        let pdf = json!({"type":"base64","media_type":"application/pdf","data":"AA=="});
        assert!(inputs(&result(json!([{"type":"document","source":pdf}])), 1000).is_ok());
        for kind in ["image", "document"] {
            let by_url = json!([{"type":kind,"source":{"type":"url","url":"https://x"}}]);
            assert!(inputs(&message(by_url.clone()), 1000).is_ok());
            let refused = inputs(&result(by_url), 1000);
            assert!(
                matches!(&refused, Err(SendError::Block { kind: named }) if *named == format!("{kind} from url"))
            );
        }
    }
}
