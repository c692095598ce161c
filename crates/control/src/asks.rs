//! Calls that wait for the user: for a confirmation, or for the result of a custom tool. Pure.
//!
//! ```text
//! told (in the log) --asked (by the runtime)--> answered (by the user) --sent--> resolved (has a result)
//!        \------------answered-------------------->  asked  --sent--/
//! ```
//!
//! Question and answer come in either order. That an answer is sent is recorded before it is: from then on the tool may
//! run, and no other runtime is asked to run it.

use domain::EventId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use translate::message;
use wire::{Body, Confirmation, ContentBlock};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Asks {
    /// In the order in which they were told.
    calls: Vec<Ask>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ask {
    /// Of the event that tells the call.
    id: EventId,
    kind: Kind,
    question: Option<Question>,
    /// In the log; read back from there.
    #[serde(skip)]
    answer: Option<Answer>,
    sent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Confirmation,
    CustomTool,
}

/// How a runtime wants to hear the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub request_id: String,
    /// Of a custom tool's call.
    pub rpc_id: Option<Value>,
    /// What is confirmed; known to the owner that heard the question.
    #[serde(skip)]
    pub input: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Allow,
    Deny(Option<String>),
    Result {
        content: Option<Vec<ContentBlock>>,
        is_error: Option<bool>,
    },
}

/// Why an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("{id} is not waiting for an answer: no such call is open")]
    NotOpen { id: EventId },
    #[error("{id} is not the id of a call")]
    NoId { id: String },
    #[error("{id} has its answer already")]
    Answered { id: EventId },
    #[error("{id} is a call of a custom tool: answer it with `user.custom_tool_result`")]
    IsCustom { id: EventId },
    #[error("{id} waits for a confirmation: answer it with `user.tool_confirmation`")]
    IsConfirmation { id: EventId },
}

impl Answer {
    /// The call that an event answers, and how.
    pub(crate) fn of_event(body: &Body) -> Option<(&EventId, Self)> {
        match body {
            Body::UserToolConfirmation {
                tool_use_id,
                result,
                deny_message,
                ..
            } => {
                let answer = match result {
                    Confirmation::Allow => Self::Allow,
                    Confirmation::Deny => Self::Deny(deny_message.clone()),
                };
                Some((tool_use_id, answer))
            }
            Body::UserCustomToolResult {
                custom_tool_use_id,
                content,
                is_error,
                ..
            } => {
                let answer = Self::Result {
                    content: content.clone(),
                    is_error: *is_error,
                };
                Some((custom_tool_use_id, answer))
            }
            _ => None,
        }
    }

    /// With what an operator adds to a result, before it.
    pub(crate) fn noted(mut self, notes: &[String]) -> Self {
        if let Self::Result { content, .. } = &mut self
            && !notes.is_empty()
        {
            // Before it: the end of a long result is cut off.
            let blocks = notes
                .iter()
                .map(|note| ContentBlock::text(message::reminder(note)));
            content.get_or_insert_default().splice(..0, blocks);
        }
        self
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Allow | Self::Deny(_) => Kind::Confirmation,
            Self::Result { .. } => Kind::CustomTool,
        }
    }
}

impl Asks {
    pub(crate) fn told(&mut self, id: EventId, kind: Kind) {
        self.calls.push(Ask {
            id,
            kind,
            question: None,
            answer: None,
            sent: false,
        });
    }

    /// The runtime asks; says whether the call is one that waits.
    pub(crate) fn asked(&mut self, id: &EventId, question: Question) -> bool {
        let Some(ask) = self.find(id) else { return false };
        ask.question = Some(question);
        true
    }

    /// The runtime does not want an answer any more.
    pub(crate) fn withdrawn(&mut self, request_id: &str) {
        for ask in &mut self.calls {
            ask.question.take_if(|question| question.request_id == request_id);
        }
    }

    pub(crate) fn answered(&mut self, id: &EventId, answer: Answer) -> Result<(), AnswerError> {
        let id = id.clone();
        let Some(ask) = self.find(&id) else {
            return Err(AnswerError::NotOpen { id });
        };
        match (ask.kind, answer.kind()) {
            (Kind::CustomTool, Kind::Confirmation) => Err(AnswerError::IsCustom { id }),
            (Kind::Confirmation, Kind::CustomTool) => Err(AnswerError::IsConfirmation { id }),
            _ if ask.answer.is_some() => Err(AnswerError::Answered { id }),
            _ => {
                ask.answer = Some(answer);
                Ok(())
            }
        }
    }

    /// The call has its result.
    pub(crate) fn resolved(&mut self, id: &EventId) {
        self.calls.retain(|ask| ask.id != *id);
    }

    /// Calls that the user has not answered.
    pub(crate) fn waiting(&self) -> Vec<EventId> {
        let waiting = self.calls.iter().filter(|ask| ask.answer.is_none());
        waiting.map(|ask| ask.id.clone()).collect()
    }

    /// Whether a runtime is held up by a question.
    pub(crate) fn holds_up(&self) -> bool {
        self.calls
            .iter()
            .any(|ask| ask.question.is_some() && ask.answer.is_none())
    }

    /// Answers that can be sent, and are from now on.
    pub(crate) fn send(&mut self) -> Vec<(Question, Answer)> {
        let ready = self.calls.iter_mut().filter(|ask| !ask.sent);
        ready
            .filter_map(|ask| {
                let pair = (ask.question.clone()?, ask.answer.clone()?);
                ask.sent = true;
                Some(pair)
            })
            .collect()
    }

    /// Answers that were sent, perhaps, by an owner before this one: a runtime takes each once.
    pub(crate) fn send_again(&self) -> Vec<(Question, Answer)> {
        let sent = self.calls.iter().filter(|ask| ask.sent);
        sent.filter_map(|ask| Some((ask.question.clone()?, ask.answer.clone()?)))
            .collect()
    }

    /// The runtime that asked is gone. What it may have begun to run is not open any more: these are told.
    pub(crate) fn runtime_gone(&mut self) -> Vec<EventId> {
        let may_have_run = |ask: &Ask| ask.sent && ask.kind == Kind::Confirmation;
        let begun = self.calls.iter().filter(|ask| may_have_run(ask));
        let begun = begun.map(|ask| ask.id.clone()).collect();
        self.calls.retain(|ask| !may_have_run(ask));
        for ask in &mut self.calls {
            ask.question = None;
            ask.sent = false;
        }
        begun
    }

    /// Calls that have not begun to run.
    pub(crate) fn not_begun(&self) -> Vec<EventId> {
        self.calls.iter().map(|ask| ask.id.clone()).collect()
    }

    /// Puts the log's answers where they belong.
    pub(crate) fn read_back(&mut self, answers: BTreeMap<EventId, Answer>) {
        for (id, answer) in answers {
            if let Some(ask) = self.find(&id) {
                ask.answer = Some(answer);
            }
        }
    }

    fn find(&mut self, id: &EventId) -> Option<&mut Ask> {
        self.calls.iter_mut().find(|ask| ask.id == *id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn question(id: &str) -> Question {
        Question {
            request_id: id.to_owned(),
            rpc_id: None,
            input: None,
        }
    }

    fn result() -> Answer {
        Answer::Result {
            content: None,
            is_error: None,
        }
    }

    #[test]
    fn an_answer_is_sent_once_whichever_comes_first() {
        for question_first in [true, false] {
            let (mut asks, id) = (Asks::default(), EventId::random());
            asks.told(id.clone(), Kind::Confirmation);
            assert_eq!(asks.waiting(), std::slice::from_ref(&id));
            if question_first {
                assert!(asks.asked(&id, question("r")));
                assert!(asks.send().is_empty() && asks.holds_up());
                asks.answered(&id, Answer::Allow).unwrap();
            } else {
                asks.answered(&id, Answer::Allow).unwrap();
                assert!(asks.send().is_empty() && !asks.holds_up());
                assert!(asks.asked(&id, question("r")));
            }
            assert!(asks.waiting().is_empty());
            assert_eq!(asks.send(), [(question("r"), Answer::Allow)]);
            assert!(asks.send().is_empty());
            assert_eq!(asks.send_again().len(), 1);
            asks.resolved(&id);
            assert!(asks.not_begun().is_empty());
        }
    }

    #[test]
    fn an_answer_that_fits_no_call_is_refused_and_changes_nothing() {
        let (mut asks, call, custom) = (Asks::default(), EventId::random(), EventId::random());
        asks.told(call.clone(), Kind::Confirmation);
        asks.told(custom.clone(), Kind::CustomTool);
        let other = EventId::random();
        let not_open = AnswerError::NotOpen { id: other.clone() };
        assert_eq!(asks.answered(&other, Answer::Allow), Err(not_open));
        let is_custom = AnswerError::IsCustom { id: custom.clone() };
        assert_eq!(asks.answered(&custom, Answer::Deny(None)), Err(is_custom));
        let is_confirmation = AnswerError::IsConfirmation { id: call.clone() };
        assert_eq!(asks.answered(&call, result()), Err(is_confirmation));
        asks.answered(&call, Answer::Deny(None)).unwrap();
        let twice = AnswerError::Answered { id: call.clone() };
        assert_eq!(asks.answered(&call, Answer::Allow), Err(twice));
        assert_eq!(asks.waiting(), [custom]);
    }

    #[test]
    fn what_may_have_run_is_not_run_again_by_another_runtime() {
        let ids: Vec<EventId> = (0..4).map(|_| EventId::random()).collect();
        let mut asks = Asks::default();
        for (id, kind) in ids.iter().zip([
            Kind::Confirmation,
            Kind::Confirmation,
            Kind::CustomTool,
            Kind::Confirmation,
        ]) {
            asks.told(id.clone(), kind);
            asks.asked(id, question(id.as_str()));
        }
        asks.answered(&ids[0], Answer::Allow).unwrap();
        asks.answered(&ids[2], result()).unwrap();
        assert_eq!(asks.send().len(), 2);
        asks.answered(&ids[3], Answer::Allow).unwrap();
        assert_eq!(asks.runtime_gone(), [ids[0].clone()]);
        assert_eq!(asks.not_begun(), ids[1..]);
        assert_eq!(asks.waiting(), [ids[1].clone()]);
        // The next runtime asks for all of them, and hears what is known.
        for id in &ids[1..] {
            asks.asked(id, question("new"));
        }
        assert_eq!(asks.send().len(), 2);
    }

    #[test]
    fn a_question_that_is_withdrawn_waits_to_be_asked_again() {
        let (mut asks, id) = (Asks::default(), EventId::random());
        asks.told(id.clone(), Kind::Confirmation);
        asks.asked(&id, question("r"));
        asks.withdrawn("r");
        asks.answered(&id, Answer::Allow).unwrap();
        assert!(asks.send().is_empty());
    }

    #[test]
    fn answers_are_read_back_from_the_log_and_not_from_the_record() {
        let (mut asks, id) = (Asks::default(), EventId::random());
        asks.told(id.clone(), Kind::CustomTool);
        asks.asked(&id, question("r"));
        asks.answered(&id, result()).unwrap();
        asks.send();
        let text = serde_json::to_string(&asks).unwrap();
        let mut back: Asks = serde_json::from_str(&text).unwrap();
        assert_eq!(back.waiting(), std::slice::from_ref(&id));
        back.read_back([(id, result())].into());
        assert!(back.waiting().is_empty());
        assert_eq!(back.send_again(), [(question("r"), result())]);
    }
}
