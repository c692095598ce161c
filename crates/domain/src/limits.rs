//! What one sandbox may use. Every number is checked where it enters, so that the kernel is never asked for
//! something it would round or refuse.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Limits of one sandbox. The defaults are one CPU, 1 GiB of memory, 5 GiB of disk and 512 processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Thousandths of a CPU: 1500 is one and a half.
    pub cpu_millis: u32,
    /// Bytes of memory and swap together.
    pub memory_bytes: u64,
    /// Bytes the sandbox may keep on disk.
    pub disk_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_millis: 1000,
            memory_bytes: GIB,
            disk_bytes: 5 * GIB,
            pids: 512,
        }
    }
}

/// A limit that cannot be enforced as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("{text:?} is not a number of CPUs: use a number from 0.01 to 1024, like 2 or 0.5")]
    Cpus { text: String },
    #[error("{text:?} is not a size: use a number with K, M, G or T, like 512M or 5G")]
    Size { text: String },
    #[error("{name} of {value} is outside {least} to {most}")]
    Range {
        name: &'static str,
        value: u64,
        least: u64,
        most: u64,
    },
}

impl Limits {
    /// Checks every number against what the kernel can enforce.
    pub fn validate(&self) -> Result<(), LimitError> {
        let range = |name, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(LimitError::Range {
                    name,
                    value,
                    least,
                    most,
                })
            }
        };
        range("cpu_millis", self.cpu_millis.into(), 10, 1_024_000)?;
        range("memory_bytes", self.memory_bytes, 32 * MIB, 16 * 1024 * GIB)?;
        range("disk_bytes", self.disk_bytes, 64 * MIB, 16 * 1024 * GIB)?;
        range("pids", self.pids.into(), 16, 4_194_304)
    }
}

/// A number of bytes as people write it: `512M`, `1.5G`, `1073741824`; powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let wrong = || LimitError::Size {
            text: text.chars().take(64).collect(),
        };
        let upper = text.trim().to_ascii_uppercase();
        let body = upper
            .strip_suffix("IB")
            .or_else(|| upper.strip_suffix('B'))
            .unwrap_or(&upper);
        let (number, shift) = match body.chars().last() {
            Some('K') => (&body[..body.len() - 1], 10),
            Some('M') => (&body[..body.len() - 1], 20),
            Some('G') => (&body[..body.len() - 1], 30),
            Some('T') => (&body[..body.len() - 1], 40),
            _ => (body, 0),
        };
        let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let value: f64 = number.parse().map_err(|_| wrong())?;
        let bytes = value * f64::from(1_u32 << (shift / 2)) * f64::from(1_u32 << (shift / 2));
        if !plain || !(1.0..9e15).contains(&bytes) {
            return Err(wrong());
        }
        Ok(Self(bytes as u64))
    }
}

/// A number of CPUs as people write it: `2`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus {
    pub millis: u32,
}

impl FromStr for Cpus {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let wrong = || LimitError::Cpus {
            text: text.chars().take(64).collect(),
        };
        let number: f64 = text.trim().parse().map_err(|_| wrong())?;
        if !(0.01..=1024.0).contains(&number) {
            return Err(wrong());
        }
        Ok(Self {
            millis: (number * 1000.0).round() as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let table = [
            ("512M", 512 * MIB),
            ("5G", 5 * GIB),
            ("1.5g", 3 * GIB / 2),
            ("64MiB", 64 * MIB),
            ("1024", 1024),
        ];
        for (text, bytes) in table {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "G", "-1G", "1e3", "nanG", "infG", "5 apples", "99999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn cpus_are_read_in_thousandths() {
        assert_eq!("1.5".parse(), Ok(Cpus { millis: 1500 }));
        for text in ["0", "-1", "NaN", "inf", "two", "5000"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }

    #[test]
    fn limits_out_of_range_name_the_field() {
        assert_eq!(Limits::default().validate(), Ok(()));
        let small = Limits {
            memory_bytes: 1,
            ..Limits::default()
        };
        assert!(matches!(
            small.validate(),
            Err(LimitError::Range {
                name: "memory_bytes",
                ..
            })
        ));
    }
}
