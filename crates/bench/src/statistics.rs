//! Figures of a series of durations, by nearest rank: each is a time that was really measured.

use serde::Serialize;
use std::time::Duration;

/// In microseconds in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    #[serde(serialize_with = "micros")]
    pub(crate) minimum: Duration,
    #[serde(serialize_with = "micros")]
    pub(crate) p50: Duration,
    #[serde(serialize_with = "micros")]
    pub(crate) p95: Duration,
    #[serde(serialize_with = "micros")]
    pub(crate) p99: Duration,
}

impl Summary {
    /// Nothing, of no samples.
    pub(crate) fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let minimum = *sorted.first()?;
        let rank = |percent| nearest_rank(&sorted, percent).unwrap_or(minimum);
        Some(Self {
            count: sorted.len(),
            minimum,
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
        })
    }
}

/// The least value that at least `percent` of the values do not exceed.
fn nearest_rank(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn micros<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_nanos() as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(values: &[u64]) -> Vec<Duration> {
        values.iter().copied().map(Duration::from_millis).collect()
    }

    fn figures(values: &[u64]) -> [u128; 4] {
        let summary = Summary::of(&millis(values)).unwrap();
        [summary.minimum, summary.p50, summary.p95, summary.p99].map(|duration| duration.as_millis())
    }

    #[test]
    fn figures_are_values_that_were_measured() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let table: [(&[u64], [u128; 4]); 5] = [
            (&hundred, [1, 50, 95, 99]),
            (&[7], [7, 7, 7, 7]),
            (&[2, 1], [1, 1, 2, 2]),
            (&[3, 1, 2], [1, 2, 3, 3]),
            (&[5, 5, 5, 90], [5, 5, 90, 90]),
        ];
        for (values, expected) in table {
            assert_eq!(figures(values), expected, "{values:?}");
        }
    }

    #[test]
    fn nothing_has_no_figures() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        let mut values = vec![4; 99];
        values.push(10_000);
        assert_eq!(figures(&values), [4, 4, 4, 4]);
    }

    #[test]
    fn json_holds_microseconds() {
        let summary = Summary::of(&[Duration::from_nanos(1500)]).unwrap();
        assert_eq!(serde_json::to_value(summary).unwrap()["p50"], 1.5);
    }
}
