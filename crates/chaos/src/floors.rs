//! What must have happened at all: a run in which nothing was at work, or in which nobody died, has shown nothing. Pure.

use crate::ledgers::Compared;
use crate::verdict::Broken;
use stage::Kind;
use std::collections::BTreeMap;

/// Of one kind of process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Deaths {
    /// Rounds that were to kill some.
    pub(crate) rounds: u64,
    /// Rounds in which some were there and died.
    pub(crate) hit: u64,
    /// Processes that died.
    pub(crate) died: u64,
}

/// What was at work, of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) session: String,
    /// Messages of jobs, with an answer.
    pub(crate) answered: u64,
    /// Calls that came back well.
    pub(crate) calls: u64,
    pub(crate) lines: u64,
}

pub(crate) fn check(deaths: &BTreeMap<Kind, Deaths>, works: &[Work], compared: &Compared) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut tell = |session: &str, what: String| {
        broken.push(Broken {
            session: session.to_owned(),
            event: None,
            what,
        });
    };
    let run = "the run";
    for (kind, deaths) in deaths {
        if deaths.rounds > 0 && deaths.hit == 0 {
            tell(
                run,
                format!("no {kind:?} was there to be killed, in {} rounds", deaths.rounds),
            );
        }
    }
    let servers = deaths.get(&Kind::Server).copied().unwrap_or_default();
    if servers.hit == 0 || servers.hit < servers.rounds {
        let what = format!(
            "the server was killed {} times of {}",
            servers.hit, servers.rounds
        );
        tell(run, what);
    }
    if works.is_empty() {
        tell(run, "no session was at work".to_owned());
    }
    for work in works {
        for (count, what) in [
            (work.answered, "no job was answered"),
            (work.calls, "no call came back well"),
            (work.lines, "no call left a line"),
        ] {
            if count == 0 {
                tell(&work.session, what.to_owned());
            }
        }
    }
    for (count, what) in [
        (compared.answered, "the model has answered no request"),
        (compared.completed, "no model call was completed"),
    ] {
        if count == 0 {
            tell(run, what.to_owned());
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deaths(rounds: u64, hit: u64) -> Deaths {
        Deaths {
            rounds,
            hit,
            died: hit,
        }
    }

    fn work() -> Work {
        Work {
            session: "sesn_1".to_owned(),
            answered: 1,
            calls: 1,
            lines: 1,
        }
    }

    fn compared() -> Compared {
        Compared {
            answered: 1,
            completed: 1,
            ..Compared::default()
        }
    }

    fn told(deaths: &[(Kind, Deaths)], works: &[Work], compared: &Compared) -> Vec<String> {
        let deaths = deaths.iter().copied().collect();
        check(&deaths, works, compared)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_run_with_work_and_deaths_is_one() {
        let deaths = [
            (Kind::Server, deaths(3, 3)),
            (Kind::Jailer, deaths(2, 1)),
            (Kind::Guest, deaths(0, 0)),
        ];
        assert_eq!(told(&deaths, &[work()], &compared()), [""; 0]);
    }

    #[test]
    fn a_run_in_which_nothing_happened_is_told() {
        assert_eq!(
            told(&[], &[], &Compared::default()),
            [
                "the run: the server was killed 0 times of 0",
                "the run: no session was at work",
                "the run: the model has answered no request",
                "the run: no model call was completed",
            ]
        );
    }

    #[test]
    fn each_session_must_have_been_at_work() {
        let idle = Work {
            session: "sesn_2".to_owned(),
            answered: 0,
            calls: 0,
            lines: 0,
        };
        assert_eq!(
            told(&[(Kind::Server, deaths(1, 1))], &[work(), idle], &compared()),
            [
                "sesn_2: no job was answered",
                "sesn_2: no call came back well",
                "sesn_2: no call left a line",
            ]
        );
    }

    #[test]
    fn a_kill_that_hit_nobody_is_none() {
        let told = told(
            &[(Kind::Server, deaths(4, 3)), (Kind::Runtime, deaths(2, 0))],
            &[work()],
            &compared(),
        );
        assert_eq!(
            told,
            [
                "the run: no Runtime was there to be killed, in 2 rounds",
                "the run: the server was killed 3 times of 4",
            ]
        );
    }
}
