//! The synthetic addresses of one sandbox: which name each stands for.
//!
//! A name keeps its address while it is asked for or connected to. Addresses are given out in a circle over the whole
//! range, so one that was taken from a name comes to another only after all others did, and never while a
//! connection to it is open. The table is bounded; when nothing in it may go, new names get no address.

use policy::HostName;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 1]);
const LAST: u32 = u32::from_be_bytes([198, 19, 255, 254]);

pub(crate) fn is_synthetic(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [198, 18 | 19, ..])
}

/// Shared by the listeners of one sandbox; clones are the same table.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    by_name: HashMap<HostName, Entry>,
    by_address: HashMap<u32, HostName>,
    /// Names by when they were last used, oldest first; the numbers only ever grow.
    by_age: BTreeMap<u64, HostName>,
    clock: u64,
    next: u32,
    capacity: usize,
    lifetime: Duration,
}

#[derive(Debug)]
struct Entry {
    address: u32,
    age: u64,
    used: Instant,
    connections: usize,
}

/// What a name was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) address: Ipv4Addr,
    /// It had none before.
    pub(crate) first: bool,
}

impl Names {
    pub(crate) fn new(capacity: usize, lifetime: Duration) -> Self {
        let capacity = capacity.clamp(1, (LAST - FIRST) as usize / 2);
        let table = Table {
            by_name: HashMap::new(),
            by_address: HashMap::new(),
            by_age: BTreeMap::new(),
            clock: 0,
            next: FIRST,
            capacity,
            lifetime,
        };
        Self {
            table: Arc::new(Mutex::new(table)),
        }
    }

    /// The name's address; nothing if the table is full of names in use.
    pub(crate) fn give(&self, name: &HostName, now: Instant) -> Option<Given> {
        self.with(|table| table.give(name, now))
    }

    /// The name behind an address, for as long as a connection to it lasts.
    pub(crate) fn lease(&self, address: Ipv4Addr, now: Instant) -> Option<Lease> {
        let name = self.with(|table| {
            let name = table.by_address.get(&address.to_bits())?.clone();
            table.touch(&name, now)?.connections += 1;
            Some(name)
        })?;
        Some(Lease {
            name,
            names: self.clone(),
        })
    }

    pub(crate) fn look_up(&self, address: Ipv4Addr) -> Option<HostName> {
        self.with(|table| table.by_address.get(&address.to_bits()).cloned())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        act(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps the address from being given to another name.
#[derive(Debug)]
pub(crate) struct Lease {
    name: HostName,
    names: Names,
}

impl Lease {
    pub(crate) fn name(&self) -> &HostName {
        &self.name
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.names.with(|table| {
            if let Some(entry) = table.touch(&self.name, Instant::now()) {
                entry.connections = entry.connections.saturating_sub(1);
            }
        });
    }
}

impl Table {
    fn give(&mut self, name: &HostName, now: Instant) -> Option<Given> {
        if let Some(entry) = self.touch(name, now) {
            return Some(Given {
                address: Ipv4Addr::from_bits(entry.address),
                first: false,
            });
        }
        if self.by_name.len() >= self.capacity && !self.forget_oldest(now) {
            return None;
        }
        let address = self.free_address();
        self.clock += 1;
        self.by_age.insert(self.clock, name.clone());
        self.by_address.insert(address, name.clone());
        self.by_name.insert(
            name.clone(),
            Entry {
                address,
                age: self.clock,
                used: now,
                connections: 0,
            },
        );
        Some(Given {
            address: Ipv4Addr::from_bits(address),
            first: true,
        })
    }

    fn touch(&mut self, name: &HostName, now: Instant) -> Option<&mut Entry> {
        let entry = self.by_name.get_mut(name)?;
        let kept = self.by_age.remove(&entry.age)?;
        self.clock += 1;
        entry.age = self.clock;
        entry.used = entry.used.max(now);
        self.by_age.insert(self.clock, kept);
        Some(entry)
    }

    /// The oldest name that has no connection goes, if its time is over. Names with connections are few: each
    /// stands for at least one of a bounded number.
    fn forget_oldest(&mut self, now: Instant) -> bool {
        let unused = |name: &HostName| self.by_name.get(name).filter(|entry| entry.connections == 0);
        let oldest = self
            .by_age
            .values()
            .find_map(|name| unused(name).map(|entry| (name.clone(), entry)));
        let Some((name, entry)) = oldest else { return false };
        if now.saturating_duration_since(entry.used) < self.lifetime {
            return false;
        }
        let (address, age) = (entry.address, entry.age);
        self.by_name.remove(&name);
        self.by_address.remove(&address);
        self.by_age.remove(&age);
        true
    }

    /// Ends because the table holds at most half of the range.
    fn free_address(&mut self) -> u32 {
        loop {
            let candidate = self.next;
            self.next = if candidate == LAST { FIRST } else { candidate + 1 };
            if !self.by_address.contains_key(&candidate) {
                return candidate;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_mins(15);

    fn name(index: usize) -> HostName {
        format!("n{index}.example").parse().unwrap()
    }

    #[test]
    fn a_name_keeps_its_address_and_no_two_share_one() {
        let names = Names::new(100, LIFETIME);
        let now = Instant::now();
        let first = names.give(&name(0), now).unwrap();
        assert_eq!(
            first,
            Given {
                address: Ipv4Addr::new(198, 18, 0, 1),
                first: true
            }
        );
        let second = names.give(&name(1), now).unwrap();
        assert_ne!(first.address, second.address);
        assert_eq!(
            names.give(&name(0), now).unwrap(),
            Given {
                first: false,
                ..first
            }
        );
        assert_eq!(names.look_up(second.address), Some(name(1)));
        assert_eq!(names.look_up(Ipv4Addr::new(198, 19, 0, 1)), None);
    }

    #[test]
    fn a_full_table_gives_nothing_until_a_name_s_time_is_over() {
        let names = Names::new(2, LIFETIME);
        let now = Instant::now();
        let old = names.give(&name(0), now).unwrap().address;
        names.give(&name(1), now + Duration::from_secs(1)).unwrap();
        assert_eq!(
            names.give(&name(2), now + LIFETIME - Duration::from_secs(1)),
            None
        );
        let later = now + LIFETIME;
        let new = names.give(&name(2), later).unwrap();
        assert!(new.first);
        assert_ne!(new.address, old, "an address just taken goes to nobody");
        assert_eq!(names.look_up(old), None);
        assert!(
            !names.give(&name(1), later).unwrap().first,
            "the younger one stayed"
        );
    }

    #[test]
    fn an_address_with_a_connection_is_never_taken() {
        let names = Names::new(1, LIFETIME);
        let now = Instant::now();
        let address = names.give(&name(0), now).unwrap().address;
        let lease = names.lease(address, now).unwrap();
        let much_later = now + LIFETIME * 100;
        assert_eq!(names.give(&name(1), much_later), None);
        drop(lease);
        assert!(names.give(&name(1), much_later).is_some());
        assert_eq!(names.look_up(address), None);
    }

    #[test]
    fn the_range_goes_round_and_skips_what_is_taken() {
        let names = Names::new(2, Duration::ZERO);
        let now = Instant::now();
        let held = names.give(&name(0), now).unwrap().address;
        let _lease = names.lease(held, now).unwrap();
        for index in 1..=140_000 {
            let given = names.give(&name(index), now).unwrap();
            assert!(is_synthetic(given.address));
            assert_ne!(given.address, held);
        }
        assert_eq!(names.look_up(held), Some(name(0)));
    }
}
