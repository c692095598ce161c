//! Messages of the user, and what else an agent is told, as the lines that a runtime gets. Pure.

use domain::{EventId, SessionId};
use serde_json::{Value, json};
use stream_json::{Block, Content, Frame, User};
use uuid::Uuid;
use wire::{Body, ContentBlock, DocumentSource, Event, ImageSource};

/// The user line of a message, with what else the agent must know. Its uuid is the event's, so that a runtime that sees
/// it twice acts once.
pub fn frame(event: &EventId, content: &[ContentBlock], notes: &[String]) -> Frame {
    let notes = notes.iter().map(|note| Block::text(reminder(note)));
    let blocks = notes.chain(content.iter().filter_map(block_json).map(block));
    let mut user = User::new(Content::Blocks(blocks.collect()));
    user.uuid = Some(event_uuid(event).to_string());
    Frame::User(Box::new(user))
}

/// A user line that no user wrote: how often the turn of a message has gone on tells it from others.
pub fn note(turn: &EventId, restarts: u32, notes: &[String]) -> Frame {
    let blocks = notes.iter().map(|note| Block::text(reminder(note))).collect();
    let mut user = User::new(Content::Blocks(blocks));
    let number = event_uuid(turn).as_u128().wrapping_add(u128::from(restarts) + 1);
    let uuid = uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid();
    user.uuid = Some(uuid.to_string());
    user.is_synthetic = Some(true);
    Frame::User(Box::new(user))
}

/// What an operator adds to a message or a result.
pub fn notes_of(event: &Event) -> Vec<String> {
    match &event.body {
        Body::SystemMessage { content } => content.iter().map(|part| part.text.clone()).collect(),
        _ => Vec::new(),
    }
}

/// How an agent is told what does not come from its user.
pub fn reminder(text: &str) -> String {
    format!("<system-reminder>\n{text}\n</system-reminder>")
}

/// The uuid that stands for an event towards a runtime.
pub fn event_uuid(event: &EventId) -> Uuid {
    uuid(event.as_str().trim_start_matches(EventId::PREFIX))
}

/// The uuid that a runtime knows the session's conversation by.
pub fn conversation_uuid(session: &SessionId) -> Uuid {
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
pub fn block_json(block: &ContentBlock) -> Option<Value> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn blocks(json: Value) -> Vec<ContentBlock> {
        serde_json::from_value(json).unwrap()
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
