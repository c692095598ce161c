//! What a client sends to a session. Checked where it enters; what it means is decided by the session's owner.

use crate::{AnswerError, SendError};
use domain::EventId;
use wire::event_input::EventInput;
use wire::{Body, Confirmation, ContentBlock, Event, Text};

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Message {
        content: Vec<ContentBlock>,
    },
    /// For the message or the result before it, and for all turns after that.
    System {
        content: Vec<Text>,
    },
    /// Ends the present turn.
    Interrupt,
    Confirm {
        tool_use_id: EventId,
        result: Confirmation,
        deny_message: Option<String>,
    },
    CustomToolResult {
        custom_tool_use_id: EventId,
        content: Option<Vec<ContentBlock>>,
        is_error: Option<bool>,
    },
}

impl Input {
    /// The event that it is in the log; not processed yet.
    pub(crate) fn into_event(self) -> Event {
        let session_thread_id = None;
        Event::queued(match self {
            Self::Message { content } => Body::UserMessage { content },
            Self::System { content } => Body::SystemMessage { content },
            Self::Interrupt => Body::UserInterrupt { session_thread_id },
            Self::Confirm {
                tool_use_id,
                result,
                deny_message,
            } => Body::UserToolConfirmation {
                tool_use_id,
                result,
                deny_message,
                session_thread_id,
            },
            Self::CustomToolResult {
                custom_tool_use_id,
                content,
                is_error,
            } => Body::UserCustomToolResult {
                custom_tool_use_id,
                content,
                is_error,
                session_thread_id,
            },
        })
    }
}

impl TryFrom<EventInput> for Input {
    type Error = SendError;

    fn try_from(event: EventInput) -> Result<Self, SendError> {
        let call = |id: String| {
            id.parse().map_err(|_| {
                let id: String = id.chars().take(64).collect();
                SendError::Answer(AnswerError::NoId { id })
            })
        };
        Ok(match event {
            EventInput::UserMessage { content } => Self::Message { content },
            EventInput::UserInterrupt {} => Self::Interrupt,
            EventInput::UserToolConfirmation {
                tool_use_id,
                result,
                deny_message,
            } => Self::Confirm {
                tool_use_id: call(tool_use_id)?,
                result,
                deny_message,
            },
            EventInput::UserCustomToolResult {
                custom_tool_use_id,
                content,
                is_error,
            } => Self::CustomToolResult {
                custom_tool_use_id: call(custom_tool_use_id)?,
                content,
                is_error,
            },
            EventInput::SystemMessage { content } => Self::System { content },
        })
    }
}
