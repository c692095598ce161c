//! What an agent's end means to the user: done, or which failure, and what can be done about it.

use control::Idle;
use terminal::Failure;
use terminal::text::safe;
use wire::{SessionError, SessionErrorType, StopReason};

/// Nothing if the agent is done. `session` names it with the flags that lead to it.
pub(crate) fn of_idle(idle: &Idle, session: &str) -> Option<Failure> {
    if let Some(error) = &idle.error {
        return Some(of_error(error, session));
    }
    match &idle.stop_reason {
        Some(StopReason::EndTurn) if !idle.terminated => None,
        Some(StopReason::EndTurn) | None => Some(
            Failure::said("session_ended", "the session ended before the agent was done").hint(look(session)),
        ),
        Some(StopReason::BudgetReached) => Some(
            Failure::said("budget_reached", "the budget is used up")
                .hint("a higher --max-budget lets it go on"),
        ),
        Some(StopReason::Refusal) => Some(
            Failure::said("refusal", "the model refused to go on").hint("put the request in other words"),
        ),
        Some(StopReason::RetriesExhausted) => {
            Some(Failure::said("retries_exhausted", "the model did not answer").hint("try again later"))
        }
        Some(StopReason::RequiresAction { .. }) => Some(
            Failure::said(
                "requires_action",
                "the agent waits for a permission that nobody can give here",
            )
            .hint(look(session)),
        ),
        Some(StopReason::Unknown(_)) => {
            Some(Failure::said("unknown", "the agent stopped for an unknown reason").hint(look(session)))
        }
    }
}

/// The same of a server's session, where other things help.
pub(crate) fn of_hosted(idle: &Idle, session: &str) -> Option<Failure> {
    let failure = of_idle(idle, session)?;
    let hint = match failure.kind {
        "budget_reached" => "a higher `budget` of the session lets it go on with the next message".to_owned(),
        "max_turns_reached" => {
            "a message lets it go on; `hostler.max_turns` of the agent is the limit".to_owned()
        }
        "model_rate_limited_error" | "model_overloaded_error" => {
            "wait a while, and send a message".to_owned()
        }
        "billing_error" => "the account of the server's model key has no credit".to_owned(),
        "refusal" | "retries_exhausted" => return Some(failure),
        _ => look(session),
    };
    Some(failure.hint(hint))
}

fn of_error(error: &SessionError, session: &str) -> Failure {
    let message = safe(&error.message);
    let (kind, hint) = match &error.kind {
        SessionErrorType::BillingError => (
            "billing_error",
            "the account of ANTHROPIC_API_KEY has no credit: add some, or use another key".to_owned(),
        ),
        SessionErrorType::ModelOverloadedError => (
            "model_overloaded_error",
            "try again later, or name another model with --model".to_owned(),
        ),
        SessionErrorType::ModelRateLimitedError => (
            "model_rate_limited_error",
            "wait a while, or use a key with a higher rate limit".to_owned(),
        ),
        SessionErrorType::ToolUseLimitReachedError => (
            "max_turns_reached",
            "a higher --max-turns lets it go on".to_owned(),
        ),
        SessionErrorType::ModelRequestFailedError => {
            ("model_request_failed_error", request_hint(&message, session))
        }
        _ => ("agent_failed", look(session)),
    };
    Failure::said(kind, message).hint(hint)
}

/// The API's own words tell what is wrong with a request; the class alone does not.
fn request_hint(message: &str, session: &str) -> String {
    let lower = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["401", "authentication", "x-api-key", "invalid api key"]) {
        "check ANTHROPIC_API_KEY: the model's server does not accept it".to_owned()
    } else if has(&["403", "permission"]) {
        "this key may not use the model: name another with --model, or use another key".to_owned()
    } else if has(&["404", "not_found"]) {
        "check --model and ANTHROPIC_BASE_URL".to_owned()
    } else if has(&["credit", "billing"]) {
        "the account of ANTHROPIC_API_KEY has no credit: add some, or use another key".to_owned()
    } else if has(&[
        "connect",
        "dns",
        "resolve",
        "timed out",
        "timeout",
        "closed",
        "reset",
        "stream",
    ]) {
        "check the network and ANTHROPIC_BASE_URL, then try again".to_owned()
    } else {
        look(session)
    }
}

pub(crate) fn look(session: &str) -> String {
    format!("hostler sessions show {session}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use domain::SessionId;
    use wire::RetryStatus;

    fn idle(stop_reason: Option<StopReason>, error: Option<(SessionErrorType, &str)>) -> Idle {
        let error = error.map(|(kind, message)| SessionError::new(kind, message, RetryStatus::Exhausted));
        Idle {
            stop_reason,
            error,
            terminated: false,
        }
    }

    #[test]
    fn an_agent_that_ended_its_turn_is_done() {
        let session = SessionId::random();
        assert_eq!(
            of_idle(&idle(Some(StopReason::EndTurn), None), session.as_str()),
            None
        );
        assert!(of_idle(&idle(None, None), session.as_str()).is_some());
        let gone = Idle {
            terminated: true,
            ..idle(Some(StopReason::EndTurn), None)
        };
        assert!(of_idle(&gone, session.as_str()).is_some());
    }

    #[test]
    fn every_trouble_with_the_model_says_what_to_do() {
        use SessionErrorType::{
            BillingError, ModelOverloadedError, ModelRateLimitedError, ModelRequestFailedError,
            ToolUseLimitReachedError, UnknownError,
        };
        let table = [
            (
                ModelRequestFailedError,
                "API Error: 401 invalid x-api-key",
                "ANTHROPIC_API_KEY",
            ),
            (
                ModelRequestFailedError,
                "API Error: 404 not_found_error: model: x",
                "--model",
            ),
            (
                ModelRequestFailedError,
                "Your credit balance is too low",
                "no credit",
            ),
            (
                ModelRequestFailedError,
                "the stream was closed in the middle",
                "check the network",
            ),
            (
                ModelRequestFailedError,
                "something new",
                "hostler sessions show sesn_",
            ),
            (BillingError, "payment required", "no credit"),
            (ModelOverloadedError, "Overloaded", "try again later"),
            (ModelRateLimitedError, "slow down", "wait a while"),
            (
                ToolUseLimitReachedError,
                "the agent made 3 requests",
                "--max-turns",
            ),
            (UnknownError, "the runtime ended", "hostler sessions show sesn_"),
        ];
        let session = SessionId::random();
        for (kind, message, hint) in table {
            let failure = of_idle(
                &idle(Some(StopReason::RetriesExhausted), Some((kind, message))),
                session.as_str(),
            )
            .unwrap();
            assert!(
                failure.hint.as_ref().unwrap().contains(hint),
                "{message}: {:?}",
                failure.hint
            );
            assert_eq!(failure.message, message);
        }
    }

    #[test]
    fn of_a_server_s_session_nothing_is_said_of_flags_that_are_not_there() {
        use SessionErrorType::{BillingError, ModelRateLimitedError, ToolUseLimitReachedError, UnknownError};
        let session = SessionId::random();
        let errors = [
            BillingError,
            ModelRateLimitedError,
            ToolUseLimitReachedError,
            UnknownError,
        ];
        let errors = errors.map(|kind| idle(Some(StopReason::EndTurn), Some((kind, "no"))));
        for idle in errors
            .iter()
            .chain(&[idle(Some(StopReason::BudgetReached), None)])
        {
            let hint = of_hosted(idle, session.as_str()).unwrap().hint.unwrap();
            assert!(!hint.contains("--m") && !hint.contains("ANTHROPIC"), "{hint}");
        }
        assert_eq!(
            of_hosted(&idle(Some(StopReason::EndTurn), None), session.as_str()),
            None
        );
    }

    #[test]
    fn limits_and_refusals_are_failures_with_a_way_on() {
        let session = SessionId::random();
        for (reason, hint) in [
            (StopReason::BudgetReached, "--max-budget"),
            (StopReason::Refusal, "other words"),
        ] {
            let failure = of_idle(&idle(Some(reason), None), session.as_str()).unwrap();
            assert!(failure.hint.unwrap().contains(hint));
        }
    }
}
