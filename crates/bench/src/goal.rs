//! What we want to reach, and whether a run reached it.

use crate::report::{Amount, Row};
use crate::statistics::Summary;
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    P50,
    P95,
    P99,
}

/// Rows and amounts are named as in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    AtMost {
        row: String,
        figure: Figure,
        limit: Duration,
    },
    /// The median of `row` is less than that of `other`.
    Below {
        row: String,
        other: String,
    },
    /// The median of `row` exceeds that of `base` by no more.
    Added {
        row: String,
        base: String,
        limit: Duration,
    },
    AmountAtMost {
        amount: String,
        limit: u64,
    },
    AmountAtLeast {
        amount: String,
        limit: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) goal: String,
    /// Nothing where it was not measured.
    pub(crate) measured: Option<String>,
    pub(crate) reached: Option<bool>,
}

impl Goal {
    pub(crate) fn judge(&self, rows: &[Row], amounts: &[Amount]) -> Verdict {
        let found = match self {
            Self::AtMost { row, figure, limit } => figures(rows, row)
                .map(|figures| figure.of(&figures))
                .map(|value| (show(value), value <= *limit)),
            Self::Below { row, other } => pair(rows, row, other)
                .map(|(ours, theirs)| (format!("{} against {}", show(ours), show(theirs)), ours < theirs)),
            Self::Added { row, base, limit } => pair(rows, row, base).map(|(through, direct)| {
                let added = through.saturating_sub(direct);
                (show(added), added <= *limit)
            }),
            Self::AmountAtMost { amount, limit } => {
                find(amounts, amount).map(|found| (found.shown(), found.value <= *limit))
            }
            Self::AmountAtLeast { amount, limit } => {
                find(amounts, amount).map(|found| (found.shown(), found.value >= *limit))
            }
        };
        let (measured, reached) = found.unzip();
        Verdict {
            goal: self.describe(amounts),
            measured,
            reached,
        }
    }

    fn describe(&self, amounts: &[Amount]) -> String {
        let shown = |name: &str, value: u64| {
            find(amounts, name).map_or_else(
                || value.to_string(),
                |found| {
                    Amount {
                        value,
                        ..found.clone()
                    }
                    .shown()
                },
            )
        };
        match self {
            Self::AtMost { row, figure, limit } => {
                format!("{row}: {} of at most {}", figure.name(), show(*limit))
            }
            Self::Below { row, other } => format!("{row}: p50 below that of {other}"),
            Self::Added { row, base, limit } => {
                format!("{row}: adds at most {} to the p50 of {base}", show(*limit))
            }
            Self::AmountAtMost { amount, limit } => format!("{amount}: at most {}", shown(amount, *limit)),
            Self::AmountAtLeast { amount, limit } => format!("{amount}: at least {}", shown(amount, *limit)),
        }
    }
}

impl Figure {
    fn of(self, figures: &Summary) -> Duration {
        match self {
            Self::P50 => figures.p50,
            Self::P95 => figures.p95,
            Self::P99 => figures.p99,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }
}

fn figures(rows: &[Row], name: &str) -> Option<Summary> {
    rows.iter().find(|row| row.name == name).map(|row| row.figures)
}

fn pair(rows: &[Row], one: &str, other: &str) -> Option<(Duration, Duration)> {
    Some((figures(rows, one)?.p50, figures(rows, other)?.p50))
}

fn find<'a>(amounts: &'a [Amount], name: &str) -> Option<&'a Amount> {
    amounts.iter().find(|amount| amount.name == name)
}

fn show(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;

    fn row(name: &str, millis: u64) -> Row {
        Row {
            name: name.to_owned(),
            figures: Summary::of(&[Duration::from_millis(millis)]).unwrap(),
        }
    }

    fn reached(goal: &Goal) -> Option<bool> {
        let amounts = [Amount {
            name: "size".to_owned(),
            value: 100,
            unit: Unit::Bytes,
        }];
        goal.judge(&[row("ours", 4), row("theirs", 6)], &amounts).reached
    }

    #[test]
    fn a_limit_itself_is_reached() {
        for (limit, expected) in [(4, true), (3, false)] {
            let limit = Duration::from_millis(limit);
            let goal = Goal::AtMost {
                row: "ours".to_owned(),
                figure: Figure::P50,
                limit,
            };
            assert_eq!(reached(&goal), Some(expected), "{limit:?}");
        }
        for (limit, at_most, at_least) in [(100, true, true), (99, false, true), (101, true, false)] {
            let amount = "size".to_owned();
            assert_eq!(
                reached(&Goal::AmountAtMost {
                    amount: amount.clone(),
                    limit
                }),
                Some(at_most),
                "{limit}"
            );
            assert_eq!(
                reached(&Goal::AmountAtLeast { amount, limit }),
                Some(at_least),
                "{limit}"
            );
        }
    }

    #[test]
    fn comparisons_take_the_medians() {
        let below = |row: &str, other: &str| {
            reached(&Goal::Below {
                row: row.to_owned(),
                other: other.to_owned(),
            })
        };
        assert_eq!(below("ours", "theirs"), Some(true));
        assert_eq!(below("theirs", "ours"), Some(false));
        assert_eq!(below("ours", "ours"), Some(false));
        let added = |row: &str, base: &str, limit| {
            let limit = Duration::from_millis(limit);
            reached(&Goal::Added {
                row: row.to_owned(),
                base: base.to_owned(),
                limit,
            })
        };
        assert_eq!(added("theirs", "ours", 2), Some(true));
        assert_eq!(added("theirs", "ours", 1), Some(false));
        assert_eq!(added("ours", "theirs", 0), Some(true));
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_missed() {
        let goal = Goal::Below {
            row: "ours".to_owned(),
            other: "absent".to_owned(),
        };
        assert_eq!(reached(&goal), None);
    }
}
