//! A range of addresses in CIDR form. It admits an address that is not public only if the whole range is of that
//! address's class: who writes `0.0.0.0/0` means the internet, not this machine and its cloud's credentials.

use crate::AddressClass;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host bits are zero, and an IPv4-mapped range is kept as its IPv4 range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Nothing where the prefix is longer than the address or host bits are set.
    pub fn new(first: IpAddr, prefix: u8) -> Option<Self> {
        let width = width(first);
        if prefix > width || bits(first) & host_mask(width, prefix) != 0 {
            return None;
        }
        match first.to_canonical() {
            same if same == first => Some(Self { first, prefix }),
            _ if prefix < 96 => None,
            v4 => Some(Self {
                first: v4,
                prefix: prefix - 96,
            }),
        }
    }

    pub fn single(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self {
            first,
            prefix: width(first),
        }
    }

    pub fn is_single(&self) -> bool {
        self.prefix == width(self.first)
    }

    pub fn first(&self) -> IpAddr {
        self.first
    }

    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    fn last(&self) -> IpAddr {
        let bits = bits(self.first) | host_mask(width(self.first), self.prefix);
        match self.first {
            IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
        }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let width = width(self.first);
        self.first.is_ipv4() == address.is_ipv4()
            && (bits(address) & !host_mask(width, self.prefix)) == bits(self.first)
    }

    /// Whether a rule with this range allows a connection to the address.
    pub fn admits(&self, address: IpAddr) -> bool {
        let class = AddressClass::of(address);
        self.contains(address)
            && !class.is_never_allowed()
            && (class == AddressClass::Public
                || (AddressClass::of(self.first) == class && AddressClass::of(self.last()) == class))
    }

    /// The class that no rule can allow, where the whole range is of it.
    pub(crate) fn never_allowed(&self) -> Option<AddressClass> {
        let class = AddressClass::of(self.first);
        (class.is_never_allowed() && AddressClass::of(self.last()) == class).then_some(class)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.is_single()) {
            (IpAddr::V4(v4), true) => v4.fmt(formatter),
            (IpAddr::V4(v4), false) => write!(formatter, "{v4}/{}", self.prefix),
            (IpAddr::V6(v6), true) => write!(formatter, "[{v6}]"),
            (IpAddr::V6(v6), false) => write!(formatter, "[{v6}/{}]", self.prefix),
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn host_mask(width: u8, prefix: u8) -> u128 {
    let host_bits = u32::from(width - prefix);
    1_u128.checked_shl(host_bits).map_or(u128::MAX, |power| power - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        let (address, prefix) = text.split_once('/').unwrap();
        Network::new(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_range_contains_its_addresses_and_no_other() {
        let table = [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "fd00::1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("0.0.0.0/0", "1.1.1.1", true),
            ("::/0", "2606:4700::1", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
        ];
        for (range, address, expected) in table {
            assert_eq!(
                network(range).contains(address.parse().unwrap()),
                expected,
                "{range} {address}"
            );
        }
    }

    #[test]
    fn addresses_that_are_not_public_are_admitted_only_by_a_range_of_their_own_class() {
        let table = [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/7", "10.1.2.3", false),
            ("0.0.0.0/0", "1.1.1.1", true),
            ("0.0.0.0/0", "10.1.2.3", false),
            ("0.0.0.0/0", "127.0.0.1", false),
            ("0.0.0.0/0", "169.254.169.254", false),
            ("169.254.0.0/16", "169.254.1.1", true),
            ("169.254.0.0/16", "169.254.169.254", false),
            ("169.254.169.254/32", "169.254.169.254", true),
            ("127.0.0.1/32", "127.0.0.1", true),
            ("::/0", "::1", false),
            ("198.18.0.0/15", "198.18.0.1", false),
            ("224.0.0.0/4", "224.0.0.1", false),
        ];
        for (range, address, expected) in table {
            assert_eq!(
                network(range).admits(address.parse().unwrap()),
                expected,
                "{range} {address}"
            );
        }
    }

    #[test]
    fn host_bits_and_long_prefixes_are_no_network() {
        for (address, prefix) in [
            ("10.0.0.1", 8),
            ("10.0.0.0", 33),
            ("::1", 64),
            ("::", 129),
            ("::ffff:0.0.0.0", 90),
        ] {
            assert_eq!(
                Network::new(address.parse().unwrap(), prefix),
                None,
                "{address}/{prefix}"
            );
        }
    }
}
