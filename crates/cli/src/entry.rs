//! An entry of a session's log, from a server or from the store: as JSON, and as far as this program understands it.

use domain::EventId;
use serde::Deserialize;
use store::LoggedEvent;
use terminal::text::json_line;
use wire::Event;

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As the API writes it, in one line.
    pub(crate) json: String,
    pub(crate) id: Option<EventId>,
    pub(crate) kind: String,
    /// Nothing where a newer server gives a known type another form.
    pub(crate) event: Option<Event>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Option<EventId>,
    #[serde(rename = "type")]
    kind: String,
}

impl Entry {
    pub(crate) fn of_json(json: &str) -> Result<Self, serde_json::Error> {
        let head: Head = serde_json::from_str(json)?;
        Ok(Self {
            json: json_line(json),
            id: head.id,
            kind: head.kind,
            event: serde_json::from_str(json).ok(),
        })
    }

    pub(crate) fn of_logged(logged: LoggedEvent) -> Self {
        let event = logged.event;
        Self {
            // Events always have a form in JSON: they are kept as such.
            json: json_line(&serde_json::to_string(&event).unwrap_or_default()),
            id: Some(event.id.clone()),
            kind: event.body.kind().to_owned(),
            event: Some(event),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_kept_as_it_came() {
        let id = EventId::random();
        let known = Entry::of_json(&format!(
            r#"{{"id":"{id}","type":"agent.thinking","processed_at":null}}"#
        ))
        .unwrap();
        assert!(known.event.is_some() && known.id == Some(id.clone()));
        let newer = format!("{{\"id\": \"{id}\",\n\"type\": \"agent.message\", \"content\": 7}}");
        let newer = Entry::of_json(&newer).unwrap();
        assert_eq!(
            (newer.kind.as_str(), newer.event.is_none()),
            ("agent.message", true)
        );
        assert_eq!(newer.json.lines().count(), 1);
        let preview = Entry::of_json(r#"{"type":"event_start","event":{}}"#).unwrap();
        assert_eq!(preview.id, None);
        assert!(Entry::of_json("{}").is_err() && Entry::of_json("[").is_err());
    }
}
