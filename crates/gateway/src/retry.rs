//! When a call is sent again: only what the upstream did not take, and only for a short while. The client has
//! retries of its own, so a long wait is the client's to decide.

use http::{HeaderMap, StatusCode};
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Retries {
    /// Tries altogether; 1 sends a call once.
    pub attempts: u32,
    /// Before the second try, then doubled, where the upstream does not say.
    pub first_delay: Duration,
    /// A longer `retry-after` is passed on to the client.
    pub longest_delay: Duration,
    /// No try starts later than this after the first.
    pub total: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(8),
            total: Duration::from_secs(20),
        }
    }
}

/// What an answer says about sending the request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    No,
    Yes,
    After(Duration),
}

impl Retries {
    /// How long to wait before the next try; nothing if there is none. `attempt` counts from 1.
    pub(crate) fn delay(&self, advice: Advice, attempt: u32, elapsed: Duration) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let delay = match advice {
            Advice::No => return None,
            Advice::Yes => {
                let factor = 2_u32.saturating_pow(attempt - 1);
                self.first_delay.saturating_mul(factor).min(self.longest_delay)
            }
            Advice::After(delay) => delay,
        };
        (delay <= self.longest_delay && elapsed + delay <= self.total).then_some(delay)
    }
}

/// 429, 503 and 529 were not worked on; anything else may have been.
pub(crate) fn advice(status: StatusCode, headers: &HeaderMap) -> Advice {
    if !matches!(status.as_u16(), 429 | 503 | 529) {
        return Advice::No;
    }
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("unreadable"))
    };
    if text("x-should-retry") == Some("false") {
        return Advice::No;
    }
    let (milliseconds, seconds) = (text("retry-after-ms"), text("retry-after"));
    let after = match (milliseconds, seconds) {
        (Some(milliseconds), _) => milliseconds.parse::<f64>().map(|number| number / 1000.0),
        (None, Some(seconds)) => seconds.parse::<f64>(),
        (None, None) => return Advice::Yes,
    };
    // A date, or nonsense: the client may know better.
    let duration = after
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.map_or(Advice::No, Advice::After)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_worked_on_is_sent_again() {
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
                .collect()
        };
        let second = Duration::from_secs(1);
        for (status, pairs, expected) in [
            (529, vec![], Advice::Yes),
            (503, vec![("retry-after", "1")], Advice::After(second)),
            (
                429,
                vec![("retry-after", "60"), ("retry-after-ms", "1000")],
                Advice::After(second),
            ),
            (
                429,
                vec![("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")],
                Advice::No,
            ),
            (429, vec![("retry-after", "-1")], Advice::No),
            (429, vec![("retry-after", "1e300")], Advice::No),
            (429, vec![("x-should-retry", "false")], Advice::No),
            (500, vec![("retry-after", "1")], Advice::No),
            (401, vec![], Advice::No),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(advice(status, &headers(&pairs)), expected, "{status} {pairs:?}");
        }
    }

    #[test]
    fn tries_waits_and_the_whole_are_bounded() {
        let retries = Retries::default();
        let (none, seconds) = (Duration::ZERO, Duration::from_secs);
        assert_eq!(
            retries.delay(Advice::Yes, 1, none),
            Some(Duration::from_millis(500))
        );
        assert_eq!(retries.delay(Advice::Yes, 2, none), Some(seconds(1)));
        assert_eq!(retries.delay(Advice::Yes, 3, none), None);
        assert_eq!(retries.delay(Advice::After(seconds(9)), 1, none), None);
        assert_eq!(retries.delay(Advice::After(seconds(8)), 1, seconds(13)), None);
        assert_eq!(retries.delay(Advice::No, 1, none), None);
    }
}
