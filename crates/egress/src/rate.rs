//! A token bucket: one second's worth may come at once, after that only as fast as the rate.

use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Rate {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self {
            per_second,
            tokens: per_second,
            at: now,
        }
    }

    /// Takes one token, or says how long until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.per_second);
        self.at = self.at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_passes_at_once_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut rate = Rate::new(10, start);
        let burst = (0..100).filter(|_| rate.take(start).is_ok()).count();
        assert_eq!(burst, 10);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| rate.take(later).is_ok()).count(), 5);
        let wait = rate.take(later).err();
        assert_eq!(wait, Some(Duration::from_millis(100)));
        let much_later = start + Duration::from_hours(1);
        assert_eq!((0..100).filter(|_| rate.take(much_later).is_ok()).count(), 10);
    }
}
