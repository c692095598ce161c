//! When a failed call is tried again: the server's `retry-after`, else doubling from half a second with jitter.

use super::CallError;
use std::time::Duration;

/// What a server may ask us to wait at most; a longer wait is reported instead.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
const MAX_DELAY: Duration = Duration::from_secs(32);

/// The attempts of one call.
#[derive(Debug, Clone)]
pub(crate) struct Retries {
    pub(crate) attempt: u32,
    pub(crate) limit: u32,
    first_delay: Duration,
}

impl Retries {
    pub(crate) fn new(limit: u32, first_delay: Duration) -> Self {
        Self {
            attempt: 0,
            limit,
            first_delay,
        }
    }

    /// How long to wait before the next attempt; `None` gives up. `jitter` is between 0 and 1.
    pub(crate) fn next(&mut self, error: &CallError, jitter: f64) -> Option<Duration> {
        if !error.may_pass() || self.attempt >= self.limit {
            return None;
        }
        if let CallError::Api {
            retry_after: Some(after),
            ..
        } = error
        {
            if *after > MAX_RETRY_AFTER {
                return None;
            }
            self.attempt += 1;
            return Some(*after);
        }
        let doubled = self
            .first_delay
            .saturating_mul(1 << self.attempt.min(10))
            .min(MAX_DELAY);
        self.attempt += 1;
        Some(doubled.mul_f64(1.0 + 0.25 * jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(status: u16, retry_after: Option<u64>) -> CallError {
        CallError::Api {
            status: Some(status),
            kind: String::new(),
            message: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn delays_double_from_half_a_second_and_end_at_the_limit() {
        let mut retries = Retries::new(3, Duration::from_millis(500));
        let delays: Vec<_> = std::iter::from_fn(|| retries.next(&api(529, None), 0.0))
            .map(|delay| delay.as_millis())
            .collect();
        assert_eq!(delays, [500, 1000, 2000]);
        assert!(
            Retries::new(1, Duration::from_millis(500))
                .next(&api(500, None), 1.0)
                .unwrap()
                == Duration::from_millis(625)
        );
    }

    #[test]
    fn the_server_s_wait_is_kept_unless_it_is_unreasonable() {
        let retries = || Retries::new(3, Duration::from_millis(500));
        assert_eq!(
            retries().next(&api(429, Some(7)), 0.5),
            Some(Duration::from_secs(7))
        );
        assert_eq!(retries().next(&api(429, Some(0)), 0.5), Some(Duration::ZERO));
        assert_eq!(retries().next(&api(429, Some(86_400)), 0.5), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (error, again) in [
            (api(400, None), false),
            (api(401, None), false),
            (api(404, None), false),
            (api(413, None), false),
            (api(429, None), true),
            (api(500, None), true),
            (api(529, None), true),
            (
                CallError::Dropped {
                    message: String::new(),
                },
                true,
            ),
            (
                CallError::Malformed {
                    message: String::new(),
                },
                false,
            ),
            (CallError::Endless { limit: 1 }, false),
            (CallError::Interrupted, false),
        ] {
            let delay = Retries::new(1, Duration::ZERO).next(&error, 0.0);
            assert_eq!(delay.is_some(), again, "{error:?}");
        }
    }
}
