//! What a turn's end means: why the session is idle and what went wrong. Pure.

use stream_json::TurnResult;
use translate::{ApiError, retry};
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
            RetryStatus::Exhausted,
        ))
    }

    pub(crate) fn interrupted() -> Self {
        Self::of(StopReason::EndTurn)
    }

    /// Whether what waits is dropped with the turn: a client that is told so sends again what still matters.
    pub(crate) fn drops_what_waits(&self) -> bool {
        let error = self.error.as_ref();
        error.is_some_and(|error| error.retry_status == RetryStatus::Exhausted)
    }

    /// Says that messages were dropped.
    pub(crate) fn with_dropped(mut self, events: usize) -> Self {
        if let Some(error) = self.error.as_mut().filter(|_| events > 0) {
            error.message += ". What waited was dropped: send it again if it still matters";
        }
        self
    }
}

/// From the runtime's result.
pub(crate) fn conclude(result: &TurnResult, api_error: Option<ApiError>, known: Circumstances) -> Conclusion {
    if known.interrupted {
        return Conclusion::interrupted();
    }
    // The official command line calls a refusal an error too.
    if result.subtype == "success" && result.stop_reason.as_deref() == Some("refusal") {
        return Conclusion {
            stop_details: Some(StopDetails {
                category: None,
                explanation: None,
            }),
            ..Conclusion::of(StopReason::Refusal)
        };
    }
    if result.subtype == "success" && !result.is_error {
        return Conclusion::of(StopReason::EndTurn);
    }
    if known.budget_reached || result.subtype == "error_max_budget_usd" {
        return Conclusion::of(StopReason::BudgetReached);
    }
    let text = text(result, api_error.as_ref());
    if result.subtype == "error_max_turns" {
        let message = format!(
            "{text}: a higher limit (--max-turns, or `hostler.max_turns` of the agent) lets it go on"
        );
        let error = SessionError::new(
            SessionErrorType::ToolUseLimitReachedError,
            message,
            RetryStatus::Exhausted,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn result(json: &Value) -> TurnResult {
        let mut frame = json!({"subtype": "success", "is_error": false});
        frame
            .as_object_mut()
            .unwrap()
            .extend(json.as_object().unwrap().clone());
        serde_json::from_value(frame).unwrap()
    }

    fn told(conclusion: &Conclusion) -> (String, Option<String>) {
        let kind = |value: Value| value["type"].as_str().unwrap().to_owned();
        let error = conclusion
            .error
            .as_ref()
            .map(|error| kind(serde_json::to_value(error).unwrap()));
        (
            kind(serde_json::to_value(&conclusion.stop_reason).unwrap()),
            error,
        )
    }

    #[test]
    fn each_end_of_a_turn_has_its_reason() {
        let api = |status: u16| json!({"is_error": true, "result": "API Error", "api_error_status": status});
        let table = [
            (json!({}), "end_turn", None),
            (json!({"stop_reason": "refusal"}), "refusal", None),
            (
                json!({"stop_reason": "refusal", "is_error": true}),
                "refusal",
                None,
            ),
            (
                json!({"subtype": "error_max_budget_usd", "is_error": true}),
                "budget_reached",
                None,
            ),
            (
                json!({"subtype": "error_max_turns", "is_error": true}),
                "retries_exhausted",
                Some("tool_use_limit_reached_error"),
            ),
            (
                json!({"subtype": "error_during_execution", "is_error": true}),
                "retries_exhausted",
                Some("unknown_error"),
            ),
            (
                json!({"subtype": "a_later_subtype", "is_error": true}),
                "retries_exhausted",
                Some("unknown_error"),
            ),
            (api(401), "retries_exhausted", Some("model_request_failed_error")),
            (api(402), "retries_exhausted", Some("billing_error")),
            (api(429), "retries_exhausted", Some("model_rate_limited_error")),
            (api(529), "retries_exhausted", Some("model_overloaded_error")),
            (
                json!({"is_error": true}),
                "retries_exhausted",
                Some("model_request_failed_error"),
            ),
        ];
        for (json, stop, error) in table {
            let concluded = told(&conclude(&result(&json), None, Circumstances::default()));
            assert_eq!(concluded, (stop.to_owned(), error.map(str::to_owned)), "{json}");
        }
    }

    #[test]
    fn an_interrupt_is_no_error_and_a_reached_budget_is_the_reason_of_a_failed_call() {
        let failed = result(&json!({"subtype": "error_during_execution", "is_error": true}));
        let known = Circumstances {
            interrupted: true,
            budget_reached: true,
        };
        assert_eq!(told(&conclude(&failed, None, known)), ("end_turn".into(), None));
        let known = Circumstances {
            budget_reached: true,
            ..Circumstances::default()
        };
        assert_eq!(
            told(&conclude(&failed, None, known)),
            ("budget_reached".into(), None)
        );
        // The last call within the budget may reach it and still be the end of the work.
        assert_eq!(
            told(&conclude(&result(&json!({})), None, known)),
            ("end_turn".into(), None)
        );
    }

    #[test]
    fn the_error_says_what_the_runtime_said_and_never_nothing() {
        let error = |json: Value, api: Option<ApiError>| {
            conclude(&result(&json), api, Circumstances::default())
                .error
                .unwrap()
                .message
        };
        let several = json!({"subtype": "error_during_execution", "is_error": true, "errors": ["a", "b"]});
        assert_eq!(error(several, None), "a; b");
        let api = ApiError {
            class: "rate_limit".into(),
            text: "slow down".into(),
        };
        assert_eq!(error(json!({"is_error": true}), Some(api)), "slow down");
        assert!(error(json!({"is_error": true, "result": " "}), None).contains("success"));
        let long = json!({"is_error": true, "result": "é".repeat(100_000)});
        assert_eq!(error(long, None).chars().count(), MAX_TEXT);
    }
}
