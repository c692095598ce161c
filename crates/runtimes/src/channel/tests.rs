//! The rules of the channel, by tables and by simulated fleets of sessions.

use super::*;

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn versions(text: &str) -> BTreeSet<Version> {
    text.split_whitespace().map(version).collect()
}

fn wanted(text: &str) -> Wanted {
    text.parse().unwrap()
}

const WHOLE: Trial = Trial {
    share_percent: 100,
    sessions: 200,
};

fn channel(default: &str) -> Channel {
    let mut channel = Channel::default();
    channel.settle_on(&version(default));
    channel
}

fn on_trial(default: &str, candidate: &str, trial: Trial) -> Channel {
    let mut channel = channel(default);
    channel.offer(&version(candidate), trial).unwrap();
    channel
}

fn chosen(channel: &Channel, installed: &str, asked: &str) -> String {
    let asked = (!asked.is_empty()).then(|| wanted(asked));
    match channel.choose(&versions(installed), asked.as_ref(), "session_1") {
        Ok(choice) => format!("{} {:?}", choice.version, choice.reason),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_session_gets_what_its_environment_asks_for_else_the_default() {
    let of_default = channel("2.1.2");
    let installed = "2.1.1 2.1.2 2.1.3 3.0.0 3.1.0-beta.1";
    for (asked, expected) in [
        ("", "2.1.2 Default"),
        ("^2.1", "2.1.2 Default"),
        ("*", "2.1.2 Default"),
        ("2.1.1", "2.1.1 Pinned"),
        ("2.1.2", "2.1.2 Default"),
        (">2.1.2 <3", "2.1.3 Pinned"),
        ("<2.1.2", "2.1.1 Pinned"),
        ("3", "3.0.0 Pinned"),
        ("latest", "3.0.0 Pinned"),
        ("3.1.0-beta.1", "3.1.0-beta.1 Pinned"),
    ] {
        assert_eq!(chosen(&of_default, installed, asked), expected, "{asked:?}");
    }
    for (installed, asked, reason) in [
        (
            installed,
            "^4",
            "no installed version of claude is ^4 (installed: 2.1.1, 2.1.2,",
        ),
        (installed, "next", "next is a tag"),
        ("", "", "no version of claude is installed"),
    ] {
        let told = chosen(&of_default, installed, asked);
        assert!(told.contains(reason), "{told}");
    }
}

#[test]
fn a_candidate_is_for_its_share_and_for_nobody_who_names_another() {
    let all = on_trial("2.1.2", "2.2.0", WHOLE);
    let none = on_trial(
        "2.1.2",
        "2.2.0",
        Trial {
            share_percent: 0,
            ..WHOLE
        },
    );
    let installed = "2.1.2 2.2.0";
    for (channel, installed, asked, expected) in [
        (&all, installed, "", "2.2.0 Canary"),
        (&all, installed, "^2.1", "2.2.0 Canary"),
        (&all, installed, "~2.1.0", "2.1.2 Default"),
        (&all, installed, "2.1.2", "2.1.2 Default"),
        (&all, installed, "2.2.0", "2.2.0 Pinned"),
        (&all, "2.1.2", "", "2.1.2 Default"),
        (&none, installed, "", "2.1.2 Default"),
        (&none, installed, "latest", "2.1.2 Pinned"),
        (&none, installed, "~2.2", "2.2.0 Pinned"),
    ] {
        assert_eq!(
            chosen(channel, installed, asked),
            expected,
            "{asked:?} of {installed}"
        );
    }
}

#[test]
fn what_cannot_be_the_next_is_not_offered() {
    let mut pinned = channel("2.1.2");
    pinned.set_pin(&versions("2.1.2"), Some(wanted("~2.1"))).unwrap();
    let mut rolled_back = on_trial("2.1.2", "2.1.3", WHOLE);
    rolled_back.roll_back(&versions("2.1.2 2.1.3")).unwrap();
    for (channel, candidate, reason) in [
        (channel("2.1.2"), "2.1.2", "not newer"),
        (channel("2.1.2"), "2.1.1", "not newer"),
        (channel("2.1.2"), "1.9.9", "not newer"),
        (channel("2.1.2"), "3.0.0", "another major version"),
        (channel("2.1.2"), "2.1.3-beta.1", "pre-release"),
        (pinned, "2.2.0", "pinned to ~2.1"),
        (rolled_back, "2.1.3", "out of use: it was rolled back"),
    ] {
        let mut tried = channel.clone();
        let error = tried.offer(&version(candidate), WHOLE).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(tried, channel, "an offer that is refused changes nothing");
    }
    assert_eq!(
        on_trial("2.1.2", "2.9.0", WHOLE).canary().unwrap().version,
        version("2.9.0")
    );
}

#[test]
fn a_trial_ends_by_the_documented_rule() {
    let tally = |(errors, sessions)| Tally { sessions, errors };
    for (candidate, incumbent, expected) in [
        ((0, 0), (0, 4000), None),
        ((0, 199), (0, 4000), None),
        ((0, 200), (0, 199), None),
        ((0, 200), (0, 200), Some(true)),
        ((4, 200), (80, 4000), Some(true)),
        ((6, 200), (80, 4000), Some(true)),
        ((8, 200), (80, 4000), None),
        ((11, 200), (80, 4000), None),
        ((13, 200), (80, 4000), Some(false)),
        ((2, 2), (0, 40), None),
        ((3, 3), (0, 40), Some(false)),
        ((3, 3), (0, 0), None),
        ((10, 10), (40, 40), None),
        ((200, 200), (200, 200), Some(true)),
    ] {
        let verdict = WHOLE.decide(tally(candidate), tally(incumbent));
        let passed = verdict.map(|verdict| verdict == Verdict::Promoted);
        assert_eq!(passed, expected, "{candidate:?} beside {incumbent:?}");
    }
}

#[test]
fn what_was_dropped_is_out_of_use_with_its_reason_until_somebody_names_it() {
    let mut channel = on_trial("2.1.2", "2.1.3", WHOLE);
    let tally = |sessions, errors| Tally { sessions, errors };
    assert_eq!(channel.observe(&version("2.1.2"), tally(95, 0)), None);
    assert_eq!(
        channel.observe(&version("2.1.1"), tally(9, 9)),
        None,
        "it is of no trial"
    );
    let verdict = channel.observe(&version("2.1.3"), tally(5, 4)).unwrap();
    let reason = "4 of its 5 sessions failed (80.0 %), and 0 of 95 of the default's (0.0 %)";
    assert_eq!(
        verdict,
        Verdict::Dropped {
            reason: reason.to_owned()
        }
    );
    assert_eq!(channel.refused()[&version("2.1.3")], reason);
    let installed = "2.1.2 2.1.3";
    assert_eq!(chosen(&channel, installed, ""), "2.1.2 Default");
    assert_eq!(chosen(&channel, installed, "latest"), "2.1.2 Pinned");
    assert!(chosen(&channel, installed, ">2.1.2").contains(reason));
    assert_eq!(chosen(&channel, installed, "2.1.3"), "2.1.3 Pinned");
    channel.adopt(&version("2.1.3")).unwrap();
    assert_eq!(chosen(&channel, installed, ""), "2.1.3 Default");
    assert!(channel.refused().is_empty());
}

#[test]
fn a_rollback_goes_back_by_one_and_what_it_left_is_not_taken_again() {
    let installed = versions("2.1.1 2.1.2 2.1.3 2.1.4");
    let mut channel = channel("2.1.1");
    channel.adopt(&version("2.1.2")).unwrap();
    channel.set_pin(&installed, Some(wanted("2.1.3"))).unwrap();
    assert_eq!(chosen(&channel, "2.1.1 2.1.2 2.1.3", ""), "2.1.3 Default");
    channel.set_pin(&installed, None).unwrap();
    channel.offer(&version("2.1.4"), WHOLE).unwrap();
    for (from, to) in [("2.1.4", "2.1.3"), ("2.1.3", "2.1.2"), ("2.1.2", "2.1.1")] {
        let expected = RolledBack {
            from: version(from),
            to: version(to),
        };
        assert_eq!(channel.roll_back(&installed), Ok(expected));
        assert_eq!(channel.default_version(), Some(&version(to)));
    }
    assert_eq!(channel.roll_back(&installed), Err(RollbackError::Nothing));
    assert_eq!(channel.refused().len(), 3);
}

#[test]
fn a_rollback_passes_over_what_is_no_longer_installed_and_restores_the_pin() {
    let installed = versions("2.1.1 2.1.2 3.0.0");
    let mut channel = channel("2.1.1");
    channel.set_pin(&installed, Some(wanted("~2.1"))).unwrap();
    channel.adopt(&version("2.1.2")).unwrap();
    channel.set_pin(&installed, Some(wanted("^3"))).unwrap();
    assert_eq!(channel.default_version(), Some(&version("3.0.0")));
    let back = channel.roll_back(&versions("2.1.1 3.0.0")).unwrap();
    assert_eq!(back.to, version("2.1.1"));
    assert_eq!(channel.pin(), Some(&wanted("~2.1")));
}

#[test]
fn a_pin_holds_the_default_and_ends_trials_of_others() {
    let mut channel = on_trial("2.1.2", "2.2.0", WHOLE);
    let installed = versions("2.1.1 2.1.2 2.2.0");
    assert_eq!(
        channel.set_pin(&installed, Some(wanted("^2.1"))).unwrap(),
        Some(version("2.1.2"))
    );
    assert!(channel.canary().is_some());
    assert_eq!(
        channel.set_pin(&installed, Some(wanted("2.1.1"))).unwrap(),
        Some(version("2.1.1"))
    );
    assert!(channel.canary().is_none());
    assert!(channel.adopt(&version("2.2.0")).is_err());
    let before = channel.clone();
    assert!(channel.set_pin(&installed, Some(wanted("^9"))).is_err());
    assert_eq!(channel, before);
}

#[test]
fn the_share_is_exact_in_the_long_run_and_the_same_for_the_same_session() {
    let installed = versions("2.1.2 2.1.3");
    for share_percent in [0, 1, 5, 50, 100] {
        let channel = on_trial(
            "2.1.2",
            "2.1.3",
            Trial {
                share_percent,
                ..WHOLE
            },
        );
        let is_canary = |number: u32| {
            let choice = channel
                .choose(&installed, None, &format!("session_{number}"))
                .unwrap();
            choice.reason == Reason::Canary
        };
        let count = (0..100_000).filter(|number| is_canary(*number)).count() as f64;
        let expected = 1000.0 * f64::from(share_percent);
        assert!(
            (count - expected).abs() <= 500.0,
            "{count} of 100000 at {share_percent} %"
        );
        assert!((0..100).all(|number| is_canary(number) == is_canary(number)));
    }
}

/// Numbers that are the same in each run (xorshift), from 0 up to 1.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Of this many fleets, how many promoted the candidate and how many dropped it, within 40,000 sessions each.
fn fleets(count: u32, default_fails: f64, candidate_fails: f64) -> (u32, u32) {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let installed = versions("2.1.2 2.1.3");
    let (mut promoted, mut dropped) = (0, 0);
    for fleet in 0..count {
        let mut channel = on_trial("2.1.2", "2.1.3", Trial::default());
        for session in 0..40_000 {
            let choice = channel
                .choose(&installed, None, &format!("{fleet}-{session}"))
                .unwrap();
            let rate = if choice.reason == Reason::Canary {
                candidate_fails
            } else {
                default_fails
            };
            let errors = u64::from(chance.next() < rate);
            match channel.observe(&choice.version, Tally { sessions: 1, errors }) {
                None => continue,
                Some(Verdict::Promoted) => promoted += 1,
                Some(Verdict::Dropped { .. }) => dropped += 1,
            }
            break;
        }
    }
    (promoted, dropped)
}

#[test]
fn fleets_take_what_is_as_good_and_drop_what_is_worse() {
    for (default_fails, candidate_fails, least_promoted, least_dropped) in [
        (0.0, 0.0, 100, 0),
        (0.02, 0.02, 95, 0),
        (0.10, 0.10, 95, 0),
        (0.10, 0.02, 100, 0),
        (0.0, 0.10, 0, 95),
        (0.02, 0.10, 0, 95),
        (0.10, 0.30, 0, 98),
        (0.02, 1.0, 0, 100),
    ] {
        let (promoted, dropped) = fleets(100, default_fails, candidate_fails);
        assert!(
            promoted >= least_promoted && dropped >= least_dropped,
            "{default_fails} and {candidate_fails}: {promoted} promoted, {dropped} dropped"
        );
    }
}
