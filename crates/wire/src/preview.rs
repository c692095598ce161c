//! Previews: parts of an event that is still being written. They are streamed and never listed.
//!
//! The event that they announce follows with the same id; the deltas put together are a prefix of its text.

use domain::EventId;
use serde::{Deserialize, Serialize};

use crate::content::Text;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Preview {
    EventStart { event: Started },
    EventDelta { event_id: EventId, delta: Delta },
}

impl Preview {
    /// The event that this is a part of.
    pub fn event_id(&self) -> &EventId {
        match self {
            Self::EventStart { event } => &event.id,
            Self::EventDelta { event_id, .. } => event_id,
        }
    }

    pub fn delta(event_id: EventId, text: String) -> Self {
        let delta = Delta::ContentDelta {
            index: Some(0),
            content: Text { text },
        };
        Self::EventDelta { event_id, delta }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// `agent.message` or `agent.thinking`.
    #[serde(rename = "type")]
    pub kind: String,
    pub id: EventId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delta {
    ContentDelta {
        /// Which content block of the event; the first if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        content: Text,
    },
}
