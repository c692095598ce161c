//! When the next kill comes, and who dies with the server. Pure.

use crate::random::Random;
use stage::Kind;
use std::time::Duration;

/// From the moment a server serves to its end.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_millis(1200);
/// One in so many lives longer, so that turns come to their end.
const LONGER: u64 = 4;
const LONGEST: Duration = Duration::from_secs(3);
/// From the end of a runtime or a guest to that of the server, which may have seen it.
const AFTER_A_PART: Duration = Duration::from_millis(60);

/// Beside the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Nobody,
    /// The jailer and whoever watches over it.
    Jailer,
    /// A session's runtime, a moment before.
    Runtime,
    /// A session's guest, and with it the sandbox, a moment before.
    Guest,
    /// Jailer and guests, all of them: what a loss of power leaves, but for the disk.
    Everybody,
}

impl With {
    pub(crate) const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Nobody => &[],
            Self::Jailer => &[Kind::Jailer],
            Self::Runtime => &[Kind::Runtime],
            Self::Guest => &[Kind::Guest],
            Self::Everybody => &[Kind::Jailer, Kind::Guest],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) after: Duration,
    pub(crate) with: With,
    /// From the end of a part to that of the server.
    pub(crate) then: Duration,
}

/// The kill of this number, counted from 0.
pub(crate) fn kill(number: u64, random: &mut Random) -> Kill {
    let with = match number {
        _ if number % 15 == 14 => With::Everybody,
        _ if number % 3 == 2 => With::Jailer,
        _ if number % 7 == 3 => With::Runtime,
        _ if number % 11 == 6 => With::Guest,
        _ => With::Nobody,
    };
    let latest = if random.below(LONGER) == 0 {
        LONGEST
    } else {
        LATEST
    };
    Kill {
        after: random.between(SOONEST, latest),
        with,
        then: random.between(Duration::ZERO, AFTER_A_PART),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_has_each_kind_and_a_third_of_it_takes_the_jailer() {
        let mut random = Random::new(1);
        let kills: Vec<With> = (0..15).map(|number| kill(number, &mut random).with).collect();
        for with in [
            With::Nobody,
            With::Jailer,
            With::Runtime,
            With::Guest,
            With::Everybody,
        ] {
            assert!(kills.contains(&with), "{with:?} in {kills:?}");
        }
        let jailer = kills
            .iter()
            .filter(|with| matches!(with, With::Jailer | With::Everybody));
        assert_eq!(jailer.count(), 5);
    }

    #[test]
    fn the_same_seed_kills_at_the_same_moments() {
        let moments = |seed| {
            let mut random = Random::new(seed);
            (0..20)
                .map(|number| kill(number, &mut random))
                .collect::<Vec<Kill>>()
        };
        assert_eq!(moments(3), moments(3));
        assert!(
            moments(3)
                .iter()
                .all(|kill| kill.after >= SOONEST && kill.after <= LONGEST)
        );
    }
}
