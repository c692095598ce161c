//! The status of a session, as the Managed Agents API names it.
//!
//! ```text
//!   idle <--> running <--> rescheduling        all --> terminated
//! ```

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    Idle,
    Running,
    /// A turn was cut and will be tried again.
    Rescheduling,
    Terminated,
}

impl SessionStatus {
    pub fn may_become(self, next: Self) -> bool {
        use SessionStatus::{Idle, Rescheduling, Running, Terminated};
        matches!(
            (self, next),
            (Idle | Rescheduling, Running)
                | (Running | Rescheduling, Idle)
                | (Running, Rescheduling)
                | (Idle | Running | Rescheduling, Terminated)
        )
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Rescheduling => "rescheduling",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for SessionStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Idle, Self::Running, Self::Rescheduling, Self::Terminated]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a session status"))
    }
}

#[cfg(test)]
mod tests {
    use super::SessionStatus::{self, Idle, Rescheduling, Running, Terminated};

    #[test]
    fn a_terminated_session_stays_so() {
        for status in [Idle, Running, Rescheduling, Terminated] {
            assert!(!Terminated.may_become(status));
            assert_eq!(status.as_str().parse::<SessionStatus>(), Ok(status));
        }
    }
}
