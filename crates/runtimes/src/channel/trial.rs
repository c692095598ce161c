//! Whether a candidate fails more than the default does: one rule, looked at after each session.
//!
//! The default's rate is estimated as `p = (errors + 1) / (sessions + 2)`, which is never nought. Of `n` sessions of the
//! candidate, `n p` would then fail, give or take `sd = sqrt(n p (1 - p) (1 + n / m))`, where the last factor is for
//! what `m` sessions of the default do not tell of `p`.
//!
//! - Errors rise: at least 3 failed, and more than `n p + 4 sd`. The candidate is dropped at once.
//! - No rise: both had at least the sessions of the trial, and at most `n p + sd` failed. It is promoted.
//! - Between the two the trial goes on; the longer it does, the narrower is the gap.
//!
//! Four deviations, since the rule is asked again and again: of candidates that are as good as the default, about one in a
//! hundred is dropped by chance. One deviation, so that what is clearly worse does not pass by chance.

use serde::{Deserialize, Serialize};

const DROP_DEVIATIONS: f64 = 4.0;
const PROMOTE_DEVIATIONS: f64 = 1.0;
/// Fewer may be chance, however rarely the default fails.
const LEAST_ERRORS: u64 = 3;

/// Sessions that have ended, and how many of them through a fault of the runtime: it could not be started, ended
/// unasked, or broke the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub sessions: u64,
    pub errors: u64,
}

impl Tally {
    pub(super) fn add(&mut self, more: Self) {
        self.sessions = self.sessions.saturating_add(more.sessions);
        self.errors = self.errors.saturating_add(more.errors).min(self.sessions);
    }

    fn rate(self) -> f64 {
        100.0 * self.errors as f64 / self.sessions.max(1) as f64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Of new sessions, 0 to 100.
    pub share_percent: u8,
    /// How many each of the two must have had before the candidate is promoted.
    pub sessions: u64,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            share_percent: 5,
            sessions: 100,
        }
    }
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Promoted,
    Dropped { reason: String },
}

impl Trial {
    pub(super) fn decide(self, candidate: Tally, incumbent: Tally) -> Option<Verdict> {
        if candidate.sessions == 0 || incumbent.sessions == 0 {
            return None;
        }
        let (n, m) = (candidate.sessions as f64, incumbent.sessions as f64);
        let p = (incumbent.errors as f64 + 1.0) / (m + 2.0);
        let expected = n * p;
        let deviation = (n * p * (1.0 - p) * (1.0 + n / m)).sqrt();
        let errors = candidate.errors as f64;
        if candidate.errors >= LEAST_ERRORS && errors > expected + DROP_DEVIATIONS * deviation {
            return Some(Verdict::Dropped {
                reason: format!(
                    "{} of its {} sessions failed ({:.1} %), and {} of {} of the default's ({:.1} %)",
                    candidate.errors,
                    candidate.sessions,
                    candidate.rate(),
                    incumbent.errors,
                    incumbent.sessions,
                    incumbent.rate()
                ),
            });
        }
        let is_long_enough = candidate.sessions.min(incumbent.sessions) >= self.sessions;
        (is_long_enough && errors <= expected + PROMOTE_DEVIATIONS * deviation).then_some(Verdict::Promoted)
    }
}
