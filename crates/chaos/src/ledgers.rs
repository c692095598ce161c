//! The simulated model's ledger against ours: every request that the model has seen is in ours, completed or marked as
//! cut; and we claim no answer that it has not given. Any other end, here or there, is one that no run has. Pure.

use crate::verdict::Broken;
use simulated_model::Outcome;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A request as the model saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// As the model names it in its answer.
    pub(crate) request_id: String,
    /// The conversation that it is of.
    pub(crate) conversation: String,
    pub(crate) bytes: u64,
    pub(crate) at_ms: u64,
    pub(crate) outcome: Outcome,
}

impl Seen {
    /// The client left in the middle of it.
    fn is_torn(&self) -> bool {
        self.bytes == 0 && self.outcome == Outcome::CutByClient
    }
}

/// A call as we have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ours {
    pub(crate) session: String,
    pub(crate) call: i64,
    pub(crate) outcome: String,
    pub(crate) request_id: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) at_ms: u64,
}

/// What the two came to.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) broken: Vec<Broken>,
    /// Requests that the model has answered in full.
    pub(crate) answered: u64,
    pub(crate) completed: u64,
    pub(crate) cut: u64,
}

/// The ends in our ledger of a call that a kill can have cut: at its instance, or by either side of a connection.
const CUT: [&str; 5] = [
    "cut",
    "cut_by_upstream",
    "cut_by_client",
    "unreachable",
    "stopped",
];

pub(crate) fn compare(seen: &[Seen], ours: &[Ours]) -> Compared {
    let mut compared = Compared::default();
    for call in ours {
        match call.outcome.as_str() {
            "completed" => compared.completed += 1,
            cut if CUT.contains(&cut) => compared.cut += 1,
            other => compared.tell(
                &call.session,
                format!("call {} is neither completed nor cut: {other}", call.call),
            ),
        }
    }
    for request in seen {
        match request.outcome {
            Outcome::Completed => compared.answered += 1,
            Outcome::CutByClient => {}
            other => compared.tell(
                &request.conversation,
                format!("the model has {other:?} for {}", request.request_id),
            ),
        }
    }
    let by_id: HashMap<&str, &Seen> = seen.iter().map(|seen| (seen.request_id.as_str(), seen)).collect();
    let mut found = BTreeSet::new();
    let mut sessions: BTreeMap<&str, &str> = BTreeMap::new();
    for call in ours {
        let Some(id) = call.request_id.as_deref() else {
            continue;
        };
        let Some(request) = by_id.get(id) else {
            compared.tell(
                &call.session,
                format!("call {} is of {id}, which the model has not seen", call.call),
            );
            continue;
        };
        if !found.insert(id) {
            compared.tell(&call.session, format!("{id} is there twice"));
        }
        if call.outcome == "completed" && request.outcome != Outcome::Completed {
            compared.tell(
                &call.session,
                format!("{id} is completed, and the model has not answered it in full"),
            );
        }
        sessions.insert(&request.conversation, &call.session);
    }
    // Of an answer that never began there is no name: the call is one of the same session and size, from before.
    let mut nameless: Vec<&Ours> = ours.iter().filter(|call| call.request_id.is_none()).collect();
    let unnamed = seen
        .iter()
        .filter(|seen| !found.contains(seen.request_id.as_str()));
    // One of which the model never had the whole body may be any of them: it takes what the others leave.
    let (torn, whole): (Vec<_>, Vec<_>) = unnamed.partition(|seen| seen.is_torn());
    for request in whole.into_iter().chain(torn) {
        let session = sessions.get(request.conversation.as_str()).copied();
        let is_it = |call: &&Ours| {
            session.is_none_or(|session| session == call.session)
                && (call.bytes == request.bytes || request.is_torn())
                && call.at_ms <= request.at_ms
        };
        if let Some(at) = nameless.iter().rposition(is_it) {
            nameless.swap_remove(at);
        } else {
            let what = format!("{} was asked for and is not among our calls", request.request_id);
            compared.tell(session.unwrap_or(&request.conversation), what);
        }
    }
    for call in ours
        .iter()
        .filter(|call| call.request_id.is_none() && call.outcome == "completed")
    {
        compared.tell(
            &call.session,
            format!("call {} is completed without an answer", call.call),
        );
    }
    compared
}

impl Compared {
    fn tell(&mut self, session: &str, what: String) {
        self.broken.push(Broken {
            session: session.to_owned(),
            event: None,
            what,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(number: u64, completed: bool) -> Seen {
        Seen {
            request_id: format!("req_{number}"),
            conversation: "uuid".to_owned(),
            bytes: 1000 + number,
            at_ms: 10 * number,
            outcome: if completed {
                Outcome::Completed
            } else {
                Outcome::CutByClient
            },
        }
    }

    fn ours(number: u64, outcome: &str, named: bool) -> Ours {
        Ours {
            session: "sesn_1".to_owned(),
            call: number.cast_signed(),
            outcome: outcome.to_owned(),
            request_id: named.then(|| format!("req_{number}")),
            bytes: 1000 + number,
            at_ms: 10 * number - 1,
        }
    }

    fn told(seen: &[Seen], ours: &[Ours]) -> Vec<String> {
        compare(seen, ours)
            .broken
            .into_iter()
            .map(|broken| broken.what)
            .collect()
    }

    #[test]
    fn completed_and_cut_calls_are_found_with_their_name_or_without() {
        let seen = [seen(1, true), seen(2, false), seen(3, true)];
        let ours = [
            ours(1, "completed", true),
            ours(2, "cut", false),
            ours(3, "cut", false),
            // One that never reached the model.
            ours(4, "unreachable", false),
        ];
        let compared = compare(&seen, &ours);
        assert_eq!(compared.broken, []);
        assert_eq!((compared.answered, compared.completed, compared.cut), (2, 1, 3));
    }

    #[test]
    fn a_request_that_was_cut_before_it_was_whole_is_one_that_no_other_is() {
        let torn = Seen {
            bytes: 0,
            ..seen(1, false)
        };
        let both = [torn.clone(), seen(2, false)];
        assert_eq!(
            told(&both, &[ours(1, "cut", false), ours(2, "cut", false)]),
            [""; 0]
        );
        assert_eq!(
            told(&both, &[ours(2, "cut", false)]),
            ["req_1 was asked for and is not among our calls"]
        );
    }

    #[test]
    fn a_request_that_we_do_not_have_is_told() {
        let first = ours(1, "completed", true);
        assert_eq!(
            told(&[seen(1, true), seen(2, true)], std::slice::from_ref(&first)),
            ["req_2 was asked for and is not among our calls"]
        );
        // Neither another session's nor a later one is it.
        let other = Ours {
            session: "sesn_2".to_owned(),
            ..ours(2, "cut", false)
        };
        let later = Ours {
            at_ms: 21,
            ..ours(2, "cut", false)
        };
        for wrong in [other, later] {
            assert_eq!(
                told(&[seen(1, true), seen(2, false)], &[first.clone(), wrong]).len(),
                1
            );
        }
    }

    #[test]
    fn a_request_that_the_model_refused_or_has_not_ended_is_told() {
        for outcome in [Outcome::Open, Outcome::Refused, Outcome::CutByScript] {
            let seen = Seen {
                outcome,
                ..seen(1, true)
            };
            let told = told(&[seen], &[ours(1, "cut", true)]);
            assert_eq!(told, [format!("the model has {outcome:?} for req_1")]);
        }
    }

    #[test]
    fn what_we_claim_must_have_been() {
        for (seen, ours, part) in [
            (
                seen(1, true),
                ours(1, "open", true),
                "neither completed nor cut: open",
            ),
            (
                seen(1, true),
                ours(1, "refused", true),
                "neither completed nor cut: refused",
            ),
            (
                seen(1, false),
                ours(1, "completed", true),
                "has not answered it in full",
            ),
            (seen(1, true), ours(2, "completed", true), "has not seen"),
        ] {
            let told = told(&[seen], &[ours]);
            assert!(
                told.iter().any(|told| told.contains(part)),
                "{part:?} in {told:?}"
            );
        }
        let twice = [ours(1, "completed", true), ours(1, "completed", true)];
        assert_eq!(told(&[seen(1, true)], &twice), ["req_1 is there twice"]);
        let nameless = ours(1, "completed", false);
        assert_eq!(
            told(&[seen(1, true)], &[nameless]),
            ["call 1 is completed without an answer"]
        );
    }
}
