//! What a turn's end means: why the session is idle and what went wrong. Pure.

use crate::retry;
use crate::translate::ApiError;
use stream_json::TurnResult;
use wire::{RetryStatus, SessionError, SessionErrorType, StopDetails, StopReason};

/// The longest text of a runtime that is passed on in an error, in characters.
const MAX_TEXT: usize = 2000;

/// What is known of a turn besides the runtime's own account.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Circumstances {
    /// The user asked for its end.
    pub interrupted: bool,
    /// The ledger has reached the session's budget.
    pub budget_reached: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conclusion {
    pub stop_reason: StopReason,
    pub stop_details: Option<StopDetails>,
    pub error: Option<SessionError>,
}

impl Conclusion {
    fn of(stop_reason: StopReason) -> Self {
        Self {
            stop_reason,
            stop_details: None,
            error: None,
        }
    }

    /// A turn that failed, in a session that can take another.
    pub(crate) fn failed(error: SessionError) -> Self {
        Self {
            error: Some(error),
            ..Self::of(StopReason::RetriesExhausted)
        }
    }

    /// A turn that failed in the runtime or the sandbox.
    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Self::failed(SessionError::new(
            SessionErrorType::UnknownError,
            message,
            RetryStatus::Terminal,
        ))
    }

    pub(crate) fn interrupted() -> Self {
        Self::of(StopReason::EndTurn)
    }
}

/// From the runtime's result.
pub(crate) fn conclude(result: &TurnResult, api_error: Option<ApiError>, known: Circumstances) -> Conclusion {
    if known.interrupted {
        return Conclusion::interrupted();
    }
    if result.subtype == "success" && !result.is_error {
        return match result.stop_reason.as_deref() {
            Some("refusal") => Conclusion {
                stop_details: Some(StopDetails {
                    category: None,
                    explanation: None,
                }),
                ..Conclusion::of(StopReason::Refusal)
            },
            _ => Conclusion::of(StopReason::EndTurn),
        };
    }
    if known.budget_reached || result.subtype == "error_max_budget_usd" {
        return Conclusion::of(StopReason::BudgetReached);
    }
    let text = text(result, api_error.as_ref());
    if result.subtype == "error_max_turns" {
        let message = format!("{text}: a higher --max-turns lets it go on");
        let error = SessionError::new(
            SessionErrorType::ToolUseLimitReachedError,
            message,
            RetryStatus::Terminal,
        );
        return Conclusion::failed(error);
    }
    if result.subtype == "success" || result.api_error_status.is_some() || api_error.is_some() {
        let class = api_error.map(|error| error.class).unwrap_or_default();
        let kind = retry::kind(result.api_error_status, &class);
        return Conclusion::failed(SessionError::new(kind, text, RetryStatus::Exhausted));
    }
    Conclusion::broken(text)
}

fn text(result: &TurnResult, api_error: Option<&ApiError>) -> String {
    let errors = result.errors.as_ref().map(|errors| errors.join("; "));
    let texts = [
        result.result.clone(),
        errors,
        api_error.map(|error| error.text.clone()),
    ];
    let text = texts.into_iter().flatten().find(|text| !text.trim().is_empty());
    text.unwrap_or_else(|| format!("the agent ended its turn with {}", result.subtype))
        .chars()
        .take(MAX_TEXT)
        .collect()
}
