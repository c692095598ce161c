//! The states of a sandbox and the moves between them. This is the only place that knows which are legal.
//!
//! ```text
//!            +-----------------------------(message)------------------------------+
//!            v                                                                     |
//!  starting --> running <--> idle <--> frozen --> hibernated --(message)--> starting
//!      \           \           \          \            \
//!       +-----------+-----------+----------+------------+--> destroyed
//! ```
//!
//! `destroyed` is final and can be reached from everywhere: destroying always works.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxState {
    /// Being built; nothing of the agent runs yet.
    Starting,
    /// A turn, a tool or port traffic is under way.
    Running,
    /// The turn ended; processes stay.
    Idle,
    /// Stopped by the cgroup freezer.
    Frozen,
    /// Files are in the blob store, the sandbox is gone.
    Hibernated,
    Destroyed,
}

impl SandboxState {
    pub fn may_become(self, next: Self) -> bool {
        use SandboxState::{Destroyed, Frozen, Hibernated, Idle, Running, Starting};
        match (self, next) {
            (Destroyed, _) => false,
            (_, Destroyed)
            | (Starting | Idle | Frozen, Running)
            | (Running | Frozen, Idle)
            | (Idle, Frozen)
            | (Frozen | Idle, Hibernated)
            | (Hibernated, Starting) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SandboxState::{self, Destroyed, Frozen, Hibernated, Idle, Running, Starting};

    const ALL: [SandboxState; 6] = [Starting, Running, Idle, Frozen, Hibernated, Destroyed];

    #[test]
    fn destroyed_is_reached_from_everywhere_and_left_for_nothing() {
        for state in ALL {
            assert_eq!(state.may_become(Destroyed), state != Destroyed);
            assert!(!Destroyed.may_become(state));
        }
    }

    #[test]
    fn a_hibernated_sandbox_starts_again_before_it_runs() {
        assert!(Hibernated.may_become(Starting));
        assert!(!Hibernated.may_become(Running));
    }
}
