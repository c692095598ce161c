//! How often the same request came to the same faulty turn, so that a fault may end after some tries.
//!
//! Bounded: the oldest counts are forgotten first, and a forgotten request fails again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

const CAPACITY: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Attempts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: HashMap<u64, u64>,
    order: VecDeque<u64>,
}

impl Attempts {
    /// Counts this attempt; the first is 1.
    pub(crate) fn count(&self, key: u64) -> u64 {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let count = state.counts.entry(key).or_insert_with(|| {
            state.order.push_back(key);
            0
        });
        *count += 1;
        let counted = *count;
        if state.order.len() > CAPACITY
            && let Some(oldest) = state.order.pop_front()
        {
            state.counts.remove(&oldest);
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_apart_and_bounded() {
        let attempts = Attempts::default();
        assert_eq!(
            (attempts.count(1), attempts.count(1), attempts.count(2)),
            (1, 2, 1)
        );
        for key in 10..(CAPACITY as u64 + 10) {
            attempts.count(key);
        }
        assert_eq!(attempts.count(1), 1);
        assert!(attempts.state.lock().unwrap().counts.len() <= CAPACITY);
    }
}
