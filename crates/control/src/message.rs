//! Messages of the user: what is admitted, and the frame that the runtime gets. Pure.

use crate::{Input, SendError};
use domain::{EventId, SessionId};
use serde_json::{Value, json};
use stream_json::{Block, Content, Frame, User};
use uuid::Uuid;
use wire::{Body, ContentBlock, DocumentSource, Event, ImageSource};

/// Checks inputs before they are stored.
pub(crate) fn admit(inputs: &[Input], most_bytes: usize) -> Result<(), SendError> {
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

/// The user line of a message, with what else the agent must know. Its uuid is the event's, so that a runtime that sees
/// it twice acts once.
pub(crate) fn frame(event: &EventId, content: &[ContentBlock], notes: &[String]) -> Frame {
    let notes = notes.iter().map(|note| Block::text(reminder(note)));
    let blocks = notes.chain(content.iter().filter_map(block_json).map(block));
    let mut user = User::new(Content::Blocks(blocks.collect()));
    user.uuid = Some(event_uuid(event).to_string());
    Frame::User(Box::new(user))
}

/// A user line that no user wrote: how often the turn of a message has gone on tells it from others.
pub(crate) fn note(turn: &EventId, restarts: u32, notes: &[String]) -> Frame {
    let blocks = notes.iter().map(|note| Block::text(reminder(note))).collect();
    let mut user = User::new(Content::Blocks(blocks));
    let number = event_uuid(turn).as_u128().wrapping_add(u128::from(restarts) + 1);
    let uuid = uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid();
    user.uuid = Some(uuid.to_string());
    user.is_synthetic = Some(true);
    Frame::User(Box::new(user))
}

/// What an operator adds to a message or a result.
pub(crate) fn notes_of(event: &Event) -> Vec<String> {
    match &event.body {
        Body::SystemMessage { content } => content.iter().map(|part| part.text.clone()).collect(),
        _ => Vec::new(),
    }
}

/// How an agent is told what does not come from its user.
pub(crate) fn reminder(text: &str) -> String {
    format!("<system-reminder>\n{text}\n</system-reminder>")
}

/// The uuid that stands for an event towards a runtime.
pub(crate) fn event_uuid(event: &EventId) -> Uuid {
    uuid(event.as_str().trim_start_matches(EventId::PREFIX))
}

/// The uuid that a runtime knows the session's conversation by.
pub(crate) fn conversation_uuid(session: &SessionId) -> Uuid {
    uuid(session.as_str().trim_start_matches(SessionId::PREFIX))
}

/// The random part of an id has 26 characters of 5 bits: more than a uuid takes.
fn uuid(random: &str) -> Uuid {
    let digit = |byte: u8| {
        "0123456789abcdefghjkmnpqrstvwxyz"
            .bytes()
            .position(|known| known == byte)
            .unwrap_or(0)
    };
    let number = random
        .bytes()
        .fold(0_u128, |number, byte| number << 5 | digit(byte) as u128);
    uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid()
}

fn block(json: Value) -> Block {
    match json {
        Value::Object(mut map) if map.get("type").is_some_and(|kind| kind == "text") => {
            match map.remove("text") {
                Some(Value::String(text)) => Block::text(text),
                _ => Block::text(""),
            }
        }
        Value::Object(map) => Block::Other(map),
        other => Block::text(other.to_string()),
    }
}

/// The block as the Messages API has it; nothing if a model cannot be given it.
pub(crate) fn block_json(block: &ContentBlock) -> Option<Value> {
    match block {
        ContentBlock::Text { text } => Some(json!({"type": "text", "text": text})),
        ContentBlock::Image {
            source: ImageSource::Base64 { .. } | ImageSource::Url { .. },
        }
        | ContentBlock::Document {
            source: DocumentSource::Base64 { .. } | DocumentSource::Text { .. } | DocumentSource::Url { .. },
            ..
        } => serde_json::to_value(block).ok(),
        ContentBlock::Image { .. }
        | ContentBlock::Document { .. }
        | ContentBlock::SearchResult { .. }
        | ContentBlock::Redacted
        | ContentBlock::Unknown(_) => None,
    }
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
            assert!(matches!(admit(&message(json), 1000), Err(SendError::Block { kind }) if kind == name));
        }
        assert!(matches!(admit(&[], 1000), Err(SendError::Empty)));
        for json in [json!([]), json!([{"type":"text","text":" \n"}])] {
            assert!(matches!(admit(&message(json), 1000), Err(SendError::Empty)));
        }
        let long = message(json!([{"type":"text","text":"x".repeat(1000)}]));
        assert!(matches!(
            admit(&long, 1000),
            Err(SendError::TooLarge { limit: 1000, .. })
        ));
        assert!(admit(&long, 2000).is_ok());
        let text = "x".repeat(1001);
        let content = vec![wire::Text { text }];
        let note = [Input::System { content }];
        assert!(matches!(
            admit(&note, 1000),
            Err(SendError::TooLarge { bytes: 1001, .. })
        ));
        assert!(admit(&note, 2000).is_ok());
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
        assert!(admit(&result(json!([{"type":"document","source":pdf}])), 1000).is_ok());
        for kind in ["image", "document"] {
            let by_url = json!([{"type":kind,"source":{"type":"url","url":"https://x"}}]);
            assert!(admit(&message(by_url.clone()), 1000).is_ok());
            let refused = admit(&result(by_url), 1000);
            assert!(
                matches!(&refused, Err(SendError::Block { kind: named }) if *named == format!("{kind} from url"))
            );
        }
    }

    #[test]
    fn a_message_becomes_one_user_line_with_the_uuid_of_its_event() {
        let id = EventId::random();
        let image = json!({"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}});
        let content = blocks(json!([{"type":"text","text":"look"}, image]));
        let line = frame(&id, &content, &[]).to_line().unwrap();
        let json: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            json["message"]["content"],
            json!([{"type":"text","text":"look"}, image])
        );
        assert_eq!(json["uuid"], event_uuid(&id).to_string());
        let line = frame(&id, &content, &["be brief".into()]).to_line().unwrap();
        let json: Value = serde_json::from_slice(&line).unwrap();
        let note = json["message"]["content"][0]["text"].as_str().unwrap();
        assert!(note.starts_with("<system-reminder>") && note.contains("be brief"));
    }

    #[test]
    fn each_note_of_a_turn_has_a_uuid_of_its_own() {
        let turn = EventId::random();
        let uuid = |restarts| {
            let line = note(&turn, restarts, &["go on".into()]).to_line().unwrap();
            let json: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(json["isSynthetic"], true);
            json["uuid"].clone()
        };
        assert_eq!(uuid(1), uuid(1));
        assert!(uuid(1) != uuid(2) && uuid(1) != event_uuid(&turn).to_string());
    }

    #[test]
    fn different_ids_have_different_uuids_and_the_same_id_the_same() {
        let (one, two) = (EventId::random(), EventId::random());
        assert_eq!(event_uuid(&one), event_uuid(&one));
        assert_ne!(event_uuid(&one), event_uuid(&two));
        assert_eq!(event_uuid(&one).get_version_num(), 4);
    }
}
