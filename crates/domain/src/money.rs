//! Money in integers: nano-dollars, so that a million cheap calls add up to the cent.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// A cost in billionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cost {
    pub nano_usd: u64,
}

impl Cost {
    pub const ZERO: Self = Self { nano_usd: 0 };
    pub const CENT: Self = Self { nano_usd: 10_000_000 };

    pub const fn from_nano_usd(nano_usd: u64) -> Self {
        Self { nano_usd }
    }

    /// Nothing for a negative or non-finite number.
    pub fn from_usd(usd: f64) -> Self {
        Self {
            nano_usd: (usd * 1e9).round().clamp(0.0, 1e18) as u64,
        }
    }

    pub fn usd(self) -> f64 {
        self.nano_usd as f64 / 1e9
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            nano_usd: self.nano_usd.saturating_add(other.nano_usd),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Cost {
    /// Cents from ten cents up, hundredths of a cent below.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano_usd >= 100_000_000 || self.nano_usd == 0 {
            write!(formatter, "${:.2}", self.usd())
        } else {
            write!(formatter, "${:.4}", self.usd())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_print_with_the_digits_that_matter() {
        for (usd, text) in [
            (0.0, "$0.00"),
            (0.0123, "$0.0123"),
            (1.5, "$1.50"),
            (f64::NAN, "$0.00"),
            (-3.0, "$0.00"),
        ] {
            assert_eq!(Cost::from_usd(usd).to_string(), text);
        }
    }
}
