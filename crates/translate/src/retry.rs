//! How errors of model calls are named.

use stream_json::ApiRetry;
use wire::{RetryStatus, SessionError, SessionErrorType};

/// By the upstream's HTTP status, or where there was none by the runtime's word for it.
pub fn kind(status: Option<u16>, class: &str) -> SessionErrorType {
    match (status, class) {
        (Some(402), _) | (_, "billing_error") => SessionErrorType::BillingError,
        (Some(429), _) | (_, "rate_limit") => SessionErrorType::ModelRateLimitedError,
        (Some(529), _) | (_, "overloaded") => SessionErrorType::ModelOverloadedError,
        _ => SessionErrorType::ModelRequestFailedError,
    }
}

/// An attempt that failed and will be repeated.
pub fn error(attempt: &ApiRetry) -> SessionError {
    let status = attempt
        .error_status
        .map_or_else(|| "no answer".to_owned(), |status| format!("status {status}"));
    let reason: String = attempt.error.chars().take(200).collect();
    let message = format!(
        "the model request failed ({status}, {reason}); attempt {} of {} follows in {} ms",
        attempt.attempt, attempt.max_retries, attempt.retry_delay_ms
    );
    SessionError::new(
        kind(attempt.error_status, &attempt.error),
        message,
        RetryStatus::Retrying,
    )
}
