//! What is kept ready, and for whom: as many of a kind as were ever asked for at about the same moment, as long as they
//! are asked for at all, and of all kinds together no more than there may be. Pure.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// What is asked for within so long is asked for at the same moment.
const MOMENT: Duration = Duration::from_secs(2);
/// Nobody who asks is to be held up by the making of what others may ask for.
const QUIET: Duration = Duration::from_millis(100);
/// What is not asked for any more is kept for so long.
const KEPT: Duration = Duration::from_mins(10);
/// Before something is tried again that could not be made.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

pub(super) struct Stock<P, T> {
    most: usize,
    is_closed: bool,
    /// Those that were asked for last come first.
    kinds: Vec<Kind<P, T>>,
}

struct Kind<P, T> {
    key: String,
    pattern: P,
    demand: Demand,
    ready: VecDeque<T>,
    /// Nothing is made before.
    not_before: Instant,
}

/// How often a kind is asked for.
#[derive(Debug, Clone, Copy)]
struct Demand {
    last: Instant,
    moment_began: Instant,
    in_moment: usize,
    most_in_moment: usize,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<P, T> {
    Make {
        key: String,
        pattern: P,
    },
    Discard(T),
    /// Until somebody asks, or until then.
    Wait(Option<Instant>),
    /// Nothing more.
    End,
}

impl Demand {
    fn first(now: Instant) -> Self {
        Self {
            last: now,
            moment_began: now,
            in_moment: 1,
            most_in_moment: 1,
        }
    }

    fn again(&mut self, now: Instant) {
        if now.duration_since(self.moment_began) > MOMENT {
            (self.moment_began, self.in_moment) = (now, 0);
        }
        self.last = now;
        self.in_moment += 1;
        self.most_in_moment = self.most_in_moment.max(self.in_moment);
    }
}

impl<P: Clone, T> Stock<P, T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            is_closed: false,
            kinds: Vec::new(),
        }
    }

    /// Notes that one of a kind is asked for, and gives it if there is one.
    pub(super) fn take(&mut self, key: String, pattern: impl FnOnce() -> P, now: Instant) -> Option<T> {
        if self.most == 0 {
            return None;
        }
        let found = self.kinds.iter().position(|kind| kind.key == key);
        let mut kind = match found {
            Some(at) => {
                let mut kind = self.kinds.remove(at);
                kind.demand.again(now);
                kind
            }
            None => Kind {
                key,
                pattern: pattern(),
                demand: Demand::first(now),
                ready: VecDeque::new(),
                not_before: now,
            },
        };
        let taken = kind.ready.pop_front();
        self.kinds.insert(0, kind);
        taken
    }

    /// Takes in what was made. What nobody wants any more comes back.
    pub(super) fn add(&mut self, key: &str, made: T) -> Option<T> {
        match self.kinds.iter_mut().find(|kind| kind.key == key) {
            Some(kind) => {
                kind.ready.push_back(made);
                None
            }
            None => Some(made),
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.kinds.iter().map(|kind| kind.ready.len()).sum()
    }

    pub(super) fn failed(&mut self, key: &str, now: Instant) {
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.key == key) {
            kind.not_before = now + AFTER_FAILURE;
        }
    }

    /// Gives all that is there. Nothing is taken in or asked for any more.
    pub(super) fn close(&mut self) -> Vec<T> {
        (self.most, self.is_closed) = (0, true);
        self.kinds.drain(..).flat_map(|kind| kind.ready).collect()
    }

    pub(super) fn next(&mut self, now: Instant) -> Step<P, T> {
        if self.is_closed {
            return Step::End;
        }
        let most = self.most;
        let lives = |kind: &Kind<P, T>| now.duration_since(kind.demand.last) < KEPT;
        let served = self.kinds.iter().filter(|kind| lives(kind)).count().min(most);
        let share = most.checked_div(served).unwrap_or(0);
        let mut until: Option<Instant> = None;
        let mut make = None;
        for (at, kind) in self.kinds.iter_mut().enumerate() {
            let wanted = if at < served {
                kind.demand.most_in_moment.min(share)
            } else {
                0
            };
            if kind.ready.len() > wanted
                && let Some(spare) = kind.ready.pop_back()
            {
                return Step::Discard(spare);
            }
            let mut wait = |moment: Instant| {
                until = Some(until.map_or(moment, |until| until.min(moment)));
            };
            if at < served {
                wait(kind.demand.last + KEPT);
            }
            if kind.ready.len() == wanted {
                continue;
            }
            let rush_ends = (kind.demand.last + QUIET).min(kind.demand.moment_began + MOMENT);
            let from = kind.not_before.max(rush_ends);
            if from > now {
                wait(from);
            } else if make.is_none() {
                make = Some((kind.key.clone(), kind.pattern.clone()));
            }
        }
        self.kinds
            .retain(|kind| !kind.ready.is_empty() || now.duration_since(kind.demand.last) < KEPT);
        // Of those that nobody is served from, the demand is of no use to anybody.
        self.kinds.truncate(most.max(served));
        match make {
            Some((key, pattern)) => Step::Make { key, pattern },
            None => Step::Wait(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shelf = Stock<&'static str, u32>;

    fn ask(stock: &mut Shelf, kind: &'static str, now: Instant) -> Option<u32> {
        stock.take(kind.to_owned(), || kind, now)
    }

    /// Does what is to be done until there is nothing more at that time: `+a` where one of kind a was made, `-` where
    /// one was discarded.
    fn work(stock: &mut Shelf, now: Instant) -> String {
        let mut done = String::new();
        for number in 0.. {
            match stock.next(now) {
                Step::Make { key, pattern } => {
                    assert_eq!(key, pattern);
                    done.push('+');
                    done.push_str(&key);
                    assert_eq!(stock.add(&key, number), None);
                }
                Step::Discard(_) => done.push('-'),
                Step::Wait(_) | Step::End => break,
            }
        }
        done
    }

    #[test]
    fn what_was_asked_for_once_is_made_once_when_it_is_quiet() {
        let (mut stock, start) = (Shelf::new(8), Instant::now());
        assert_eq!(ask(&mut stock, "a", start), None);
        assert_eq!(stock.next(start), Step::Wait(Some(start + QUIET)));
        let now = start + QUIET;
        assert_eq!(work(&mut stock, now), "+a");
        assert_eq!(stock.next(now), Step::Wait(Some(start + KEPT)));
        let later = start + MOMENT * 2;
        assert!(ask(&mut stock, "a", later).is_some());
        assert_eq!(work(&mut stock, later + QUIET), "+a");
    }

    #[test]
    fn as_many_are_kept_as_were_asked_for_at_one_moment() {
        let (mut stock, start) = (Shelf::new(8), Instant::now());
        for _ in 0..3 {
            ask(&mut stock, "a", start);
        }
        assert_eq!(work(&mut stock, start + QUIET), "+a+a+a");
        for _ in 0..20 {
            ask(&mut stock, "a", start + MOMENT * 2);
        }
        let later = start + MOMENT * 3;
        assert_eq!(
            work(&mut stock, later),
            "+a".repeat(8),
            "no more than there may be"
        );
        ask(&mut stock, "a", later + MOMENT);
        assert_eq!(work(&mut stock, later + MOMENT * 2), "+a");
    }

    #[test]
    fn kinds_share_what_there_may_be_and_the_oldest_go_without() {
        let (mut stock, start) = (Shelf::new(2), Instant::now());
        for _ in 0..2 {
            ask(&mut stock, "a", start);
        }
        assert_eq!(work(&mut stock, start + QUIET), "+a+a");
        let second = start + MOMENT;
        ask(&mut stock, "b", second);
        assert_eq!(work(&mut stock, second + QUIET), "-+b");
        let third = second + MOMENT;
        ask(&mut stock, "c", third);
        assert_eq!(work(&mut stock, third + QUIET), "-+c");
        assert_eq!(ask(&mut stock, "a", third), None);
        assert!(ask(&mut stock, "b", third).is_some());
    }

    #[test]
    fn what_nobody_asks_for_any_more_goes() {
        let (mut stock, start) = (Shelf::new(2), Instant::now());
        ask(&mut stock, "a", start);
        assert_eq!(work(&mut stock, start + QUIET), "+a");
        assert_eq!(work(&mut stock, start + KEPT), "-");
        assert_eq!(stock.next(start + KEPT), Step::Wait(None));
        assert!(stock.kinds.is_empty());
    }

    #[test]
    fn what_cannot_be_made_is_not_tried_again_at_once() {
        let (mut stock, start) = (Shelf::new(2), Instant::now());
        ask(&mut stock, "a", start);
        let now = start + QUIET;
        assert!(matches!(stock.next(now), Step::Make { .. }));
        stock.failed("a", now);
        assert_eq!(stock.next(now), Step::Wait(Some(now + AFTER_FAILURE)));
        assert_eq!(work(&mut stock, now + AFTER_FAILURE), "+a");
    }

    #[test]
    fn a_closed_stock_takes_nothing() {
        let (mut stock, start) = (Shelf::new(2), Instant::now());
        ask(&mut stock, "a", start);
        assert_eq!(work(&mut stock, start + QUIET), "+a");
        assert_eq!(stock.close().len(), 1);
        assert_eq!(stock.add("a", 7), Some(7));
        assert_eq!(ask(&mut stock, "a", start), None);
        assert_eq!(stock.next(start + QUIET), Step::End);
        let mut none = Shelf::new(0);
        assert_eq!(ask(&mut none, "a", start), None);
        assert_eq!(none.next(start), Step::Wait(None));
    }
}
