//! The `usage` object of an answer, read leniently: what is missing, or no count, changes nothing.

use domain::Usage;
use serde_json::Value;

/// More than any call has: a larger number is a lie that would only overflow.
const MAX_TOKENS: u64 = 10_000_000_000;

/// Later reports of a stream repeat the counts of earlier ones, grown.
pub(crate) fn apply(usage: &mut Usage, report: &Value) {
    set(&mut usage.input_tokens, report, "input_tokens");
    set(&mut usage.output_tokens, report, "output_tokens");
    set(
        &mut usage.cache_read_input_tokens,
        report,
        "cache_read_input_tokens",
    );
    if let Some(tools) = report.get("server_tool_use") {
        set(&mut usage.web_search_requests, tools, "web_search_requests");
    }
    let detail = report.get("cache_creation").unwrap_or(&Value::Null);
    let (short, long) = (
        count(detail, "ephemeral_5m_input_tokens"),
        count(detail, "ephemeral_1h_input_tokens"),
    );
    if short.is_some() || long.is_some() {
        usage.cache_creation_5m_input_tokens = short.unwrap_or(0);
        usage.cache_creation_1h_input_tokens = long.unwrap_or(0);
    } else if let Some(written) = count(report, "cache_creation_input_tokens") {
        // The sum alone: what is not known to be kept for an hour is kept for five minutes.
        usage.cache_creation_5m_input_tokens = written.saturating_sub(usage.cache_creation_1h_input_tokens);
    }
}

fn set(place: &mut u64, report: &Value, name: &str) {
    if let Some(number) = count(report, name) {
        *place = number;
    }
}

fn count(report: &Value, name: &str) -> Option<u64> {
    report
        .get(name)
        .and_then(Value::as_u64)
        .map(|number| number.min(MAX_TOKENS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_cache_s_two_durations_are_told_apart() {
        let mut usage = Usage::default();
        apply(
            &mut usage,
            &json!({"input_tokens": 5, "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}}),
        );
        assert_eq!(
            (
                usage.cache_creation_5m_input_tokens,
                usage.cache_creation_1h_input_tokens
            ),
            (10, 20)
        );
        apply(
            &mut usage,
            &json!({"cache_creation_input_tokens": 30, "output_tokens": 7}),
        );
        assert_eq!(
            (
                usage.cache_creation_5m_input_tokens,
                usage.cache_creation_1h_input_tokens
            ),
            (10, 20)
        );
        assert_eq!((usage.input_tokens, usage.output_tokens), (5, 7));
    }

    #[test]
    fn what_is_no_count_changes_nothing_and_what_is_too_large_is_bounded() {
        let mut usage = Usage {
            input_tokens: 3,
            ..Usage::default()
        };
        for report in [
            json!(null),
            json!([]),
            json!("x"),
            json!({"input_tokens": -1}),
            json!({"input_tokens": 1.5}),
            json!({"input_tokens": "9"}),
            json!({"cache_creation": 5, "server_tool_use": []}),
        ] {
            apply(&mut usage, &report);
            assert_eq!(
                usage,
                Usage {
                    input_tokens: 3,
                    ..Usage::default()
                }
            );
        }
        apply(&mut usage, &json!({"output_tokens": u64::MAX}));
        assert_eq!(usage.output_tokens, MAX_TOKENS);
    }
}
