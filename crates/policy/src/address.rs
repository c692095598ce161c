//! What kind of address an IP address is. Every address has exactly one class, and only `Public` ones may be
//! connected to without being named.
//!
//! From the IANA special-purpose address registries. An address that carries an IPv4 address inside (mapped, or
//! NAT64's well-known prefix) has the class of what it carries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    Public,
    /// `0.0.0.0/8` and `::`: a connection to it reaches this machine.
    Unspecified,
    Loopback,
    /// RFC 1918, `fc00::/7`, `fec0::/10`.
    Private,
    LinkLocal,
    /// Where clouds serve credentials to their machines.
    Metadata,
    /// `100.64.0.0/10`.
    CarrierNat,
    /// `198.18.0.0/15`: benchmarking by the registry, synthetic addresses inside a sandbox.
    Synthetic,
    Multicast,
    Broadcast,
    /// Addresses that lead to an IPv4 address through a translator: 6to4, Teredo, NAT64 with a local prefix.
    Translated,
    /// Documentation, protocol assignments and what is not assigned.
    Reserved,
}

impl AddressClass {
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// No rule can allow these: nothing can be connected to there, or it would not be what was meant.
    pub fn is_never_allowed(self) -> bool {
        matches!(
            self,
            Self::Unspecified | Self::Synthetic | Self::Multicast | Self::Broadcast
        )
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::CarrierNat => "carrier-grade NAT",
            Self::Synthetic => "synthetic",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Translated => "translated",
            Self::Reserved => "reserved",
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

fn of_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        // Amazon and most others; Amazon's container credentials and DNS; Alibaba; Oracle; Azure.
        [169, 254, 169, 253 | 254]
        | [169, 254, 170, 2 | 23]
        | [100, 100, 100, 200]
        | [192, 0, 0, 192]
        | [168, 63, 129, 16] => AddressClass::Metadata,
        [0, ..] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [169, 254, ..] => AddressClass::LinkLocal,
        [100, 64..=127, ..] => AddressClass::CarrierNat,
        [198, 18..=19, ..] => AddressClass::Synthetic,
        [192, 88, 99, _] => AddressClass::Translated,
        [224..=239, ..] => AddressClass::Multicast,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [240..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressClass {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return of_v4(mapped);
    }
    let [first, second, rest @ ..] = address.segments();
    match (first, second) {
        (0, 0) if rest == [0; 6] => AddressClass::Unspecified,
        (0, 0) if rest == [0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        (0x64, 0xff9b) if rest[..4] == [0; 4] => of_v4(Ipv4Addr::from_bits(address.to_bits() as u32)),
        (0x64, 0xff9b) | (0x2002, _) | (0x2001, 0) => AddressClass::Translated,
        (0xfd00, 0xec2) | (0xfd20, 0xce) if rest == [0, 0, 0, 0, 0, 0x254] => AddressClass::Metadata,
        (0xfc00..=0xfdff | 0xfec0..=0xfeff, _) => AddressClass::Private,
        (0xfe80..=0xfebf, _) => AddressClass::LinkLocal,
        (0xff00..=0xffff, _) => AddressClass::Multicast,
        (0x2001, 0x1..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) => AddressClass::Reserved,
        (0x2000..=0x3fff, _) => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_special_range_has_its_class() {
        use AddressClass::{
            Broadcast, CarrierNat, LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved,
            Synthetic, Translated, Unspecified,
        };
        let table = [
            ("93.184.216.34", Public),
            ("1.1.1.1", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("172.15.255.255", Public),
            ("172.32.0.0", Public),
            ("198.17.255.255", Public),
            ("198.20.0.0", Public),
            ("223.255.255.255", Public),
            ("2606:4700::1111", Public),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("::1", Loopback),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("fc00::1", Private),
            ("fdff::1", Private),
            ("fec0::1", Private),
            ("169.254.1.1", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("169.254.170.2", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", Metadata),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("100.64.0.1", CarrierNat),
            ("100.127.255.255", CarrierNat),
            ("198.18.0.0", Synthetic),
            ("198.19.255.255", Synthetic),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("ff02::1", Multicast),
            ("255.255.255.255", Broadcast),
            ("240.0.0.1", Reserved),
            ("255.255.255.254", Reserved),
            ("192.0.0.1", Reserved),
            ("192.0.2.1", Reserved),
            ("198.51.100.1", Reserved),
            ("203.0.113.1", Reserved),
            ("2001:db8::1", Reserved),
            ("2001:2::1", Reserved),
            ("3fff::1", Reserved),
            ("100::1", Reserved),
            ("::7f00:1", Reserved),
            ("4000::1", Reserved),
            ("192.88.99.1", Translated),
            ("2002:7f00:1::", Translated),
            ("2001::1", Translated),
            ("64:ff9b:1::a00:1", Translated),
        ];
        for (text, class) in table {
            assert_eq!(AddressClass::of(text.parse().unwrap()), class, "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_address_keeps_its_class() {
        let table = [
            ("::ffff:127.0.0.1", AddressClass::Loopback),
            ("::ffff:169.254.169.254", AddressClass::Metadata),
            ("::ffff:1.1.1.1", AddressClass::Public),
            ("64:ff9b::10.0.0.1", AddressClass::Private),
            ("64:ff9b::169.254.169.254", AddressClass::Metadata),
            ("64:ff9b::1.1.1.1", AddressClass::Public),
            ("64:ff9b::198.18.0.1", AddressClass::Synthetic),
        ];
        for (text, class) in table {
            assert_eq!(AddressClass::of(text.parse().unwrap()), class, "{text}");
        }
    }
}
