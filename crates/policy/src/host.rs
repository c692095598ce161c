//! Host names and destinations as they come from a user, a rule or a client. A `HostName` has been checked and
//! case-folded, so two that mean the same host are equal, and one is safe to print and to compare.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the host is empty")]
    Empty,
    #[error("the host is longer than {MAX_NAME_BYTES} characters")]
    TooLong,
    #[error("there is nothing between two dots, or before the first")]
    EmptyLabel,
    #[error("the part {label:?} is longer than {MAX_LABEL_BYTES} characters")]
    LongLabel { label: String },
    #[error("{character:?} is not ASCII; write the name in its ASCII form, which begins with xn--")]
    NotAscii { character: char },
    #[error("{character:?} cannot be in a host name")]
    Character { character: char },
    #[error("the part {label:?} begins or ends with a hyphen")]
    Hyphen { label: String },
    #[error("a name cannot end in a number; an IPv4 address has four, like 10.0.0.5")]
    EndsInNumber,
    #[error("an IPv6 address is written in brackets, like [::1]")]
    Address,
    #[error("the port is missing")]
    NoPort,
    #[error("{port:?} is not a port: use a number from 1 to 65535")]
    Port { port: String },
}

/// Why a text is not a URL that leads to a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("it does not begin with https:// or http://")]
    Scheme,
    #[error("it has a user name")]
    UserInfo,
    #[error("it has {character:?} in it: write that as %XX")]
    Character { character: char },
    #[error(transparent)]
    Host(#[from] HostError),
}

/// A DNS name: lower case, no trailing dot, labels of letters, digits, hyphens and underscores.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `localhost` and what is below it: always the machine that asks (RFC 6761).
    pub fn is_localhost(&self) -> bool {
        *self.0 == *"localhost" || self.0.ends_with(".localhost")
    }
}

impl FromStr for HostName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let relative = text.strip_suffix('.').unwrap_or(text);
        if relative.is_empty() {
            return Err(if text.is_empty() {
                HostError::Empty
            } else {
                HostError::EmptyLabel
            });
        }
        if relative.len() > MAX_NAME_BYTES {
            return Err(HostError::TooLong);
        }
        relative.split('.').try_for_each(check_label)?;
        if relative.rsplit('.').next().is_some_and(is_number) {
            return Err(HostError::EndsInNumber);
        }
        Ok(Self(relative.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn check_label(label: &str) -> Result<(), HostError> {
    if label.is_empty() {
        return Err(HostError::EmptyLabel);
    }
    for character in label.chars() {
        if !character.is_ascii() {
            return Err(HostError::NotAscii { character });
        }
        if !character.is_ascii_alphanumeric() && !matches!(character, '-' | '_') {
            return Err(HostError::Character { character });
        }
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(HostError::LongLabel {
            label: label.to_owned(),
        });
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(HostError::Hyphen {
            label: label.to_owned(),
        });
    }
    Ok(())
}

/// What a URL parser, or `inet_aton`, takes for a number: such a name could be read as an address elsewhere.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// A name, or an address written out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Name(HostName),
    /// Never an IPv4-mapped IPv6 address: that is its IPv4 address.
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = HostError;

    /// IPv6 addresses are in brackets.
    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner
                .strip_suffix(']')
                .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
            return address.map(|v6| IpAddr::V6(v6).into()).ok_or(HostError::Address);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        if text.contains(':') {
            return Err(HostError::Address);
        }
        text.parse().map(Self::Name)
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(formatter),
            Self::Address(IpAddr::V4(v4)) => v4.fmt(formatter),
            Self::Address(IpAddr::V6(v6)) => write!(formatter, "[{v6}]"),
        }
    }
}

/// Where a client wants to go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    pub host: Host,
    pub port: u16,
}

impl Destination {
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// `host`, `host:port`, `[v6]` or `[v6]:port`, as in a URL or a `Host` header.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, HostError> {
        let (host, port) = split_port(text);
        let port = match port {
            Some(port) => parse_port(port)?,
            None => default_port.ok_or(HostError::NoPort)?,
        };
        Ok(Self {
            host: host.parse()?,
            port,
        })
    }
}

impl Destination {
    /// Where an `http` or `https` URL leads. Strict, so that no other reader of the URL comes to another host: there is
    /// no user name, no backslash, and nothing that a reader may drop.
    pub fn of_url(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let port = match scheme.to_ascii_lowercase().as_str() {
            "https" => 443,
            "http" => 80,
            _ => return Err(UrlError::Scheme),
        };
        let dropped = |character: char| character.is_control() || character.is_whitespace();
        if let Some(character) = rest.chars().find(|character| dropped(*character)) {
            return Err(UrlError::Character { character });
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        Ok(Self::parse(authority, Some(port))?)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// Cuts at the last colon outside brackets. Several colons without brackets are left to the host's parser.
pub(crate) fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains([':', '[']) => (host, Some(port)),
        _ => (text, None),
    }
}

pub(crate) fn parse_port(text: &str) -> Result<u16, HostError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse::<u16>().ok().filter(|port| digits && *port != 0);
    port.ok_or_else(|| HostError::Port {
        port: text.chars().take(16).collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    type Check = fn(&HostError) -> bool;

    #[test]
    fn a_url_leads_to_one_host_or_is_refused() {
        for (url, expected) in [
            ("https://api.example.com/a?b=c#d", "api.example.com:443"),
            ("HTTP://API.example.com", "api.example.com:80"),
            ("https://api.example.com:8443/a@b", "api.example.com:8443"),
            ("https://[2001:db8::1]/a", "[2001:db8::1]:443"),
            ("http://10.0.0.5?x", "10.0.0.5:80"),
        ] {
            assert_eq!(Destination::of_url(url).unwrap().to_string(), expected, "{url}");
        }
        for url in [
            "",
            "api.example.com",
            "ftp://api.example.com",
            "data:text/plain,x",
            " https://api.example.com",
            "https:/api.example.com",
            "https:///api.example.com",
            "https://api.example.com@evil.example",
            "https://api.example.com\\.evil.example",
            "https://api.example.com\t.evil.example/",
            "https://api.example.com/a\nb",
            "https://api.example.com:0/",
            "https://api.example.com:x/",
            "https://api%2eexample.com/",
            "https://0x7f000001/",
        ] {
            assert!(Destination::of_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn names_are_folded_and_lose_the_trailing_dot() {
        for text in ["API.Example.COM", "api.example.com", "api.example.com."] {
            assert_eq!(text.parse::<HostName>().unwrap().as_str(), "api.example.com");
        }
        for text in [
            "intranet",
            "_http._tcp.deb.example.org",
            "xn--bcher-kva.example",
            "1.example",
            "3com.com",
        ] {
            assert!(text.parse::<HostName>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_dns_cannot_carry_is_refused_with_its_reason() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = "abcdefg.".repeat(32);
        let table: [(&str, Check); 16] = [
            ("", |error| matches!(error, HostError::Empty)),
            (".", |error| matches!(error, HostError::EmptyLabel)),
            ("..", |error| matches!(error, HostError::EmptyLabel)),
            ("a..b", |error| matches!(error, HostError::EmptyLabel)),
            (".a", |error| matches!(error, HostError::EmptyLabel)),
            ("-a", |error| matches!(error, HostError::Hyphen { .. })),
            ("a-.b", |error| matches!(error, HostError::Hyphen { .. })),
            ("b\u{fc}cher.example", |error| {
                matches!(error, HostError::NotAscii { character: '\u{fc}' })
            }),
            ("a b", |error| {
                matches!(error, HostError::Character { character: ' ' })
            }),
            ("a\0b", |error| matches!(error, HostError::Character { .. })),
            ("a%2eb", |error| matches!(error, HostError::Character { .. })),
            ("127.1", |error| matches!(error, HostError::EndsInNumber)),
            ("2130706433", |error| matches!(error, HostError::EndsInNumber)),
            ("0x7f000001", |error| matches!(error, HostError::EndsInNumber)),
            (&long_label, |error| matches!(error, HostError::LongLabel { .. })),
            (&long_name, |error| matches!(error, HostError::TooLong)),
        ];
        for (text, expected) in table {
            let error = text.parse::<HostName>().unwrap_err();
            assert!(expected(&error), "{text:?}: {error:?}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_and_never_something_between() {
        assert_eq!("[::1]".parse(), Ok(Host::Address("::1".parse().unwrap())));
        assert_eq!(
            "[::ffff:10.0.0.1]".parse(),
            Ok(Host::Address("10.0.0.1".parse().unwrap()))
        );
        assert_eq!("10.0.0.1".parse(), Ok(Host::Address("10.0.0.1".parse().unwrap())));
        for text in [
            "::1",
            "[::1",
            "[fe80::1%eth0]",
            "[10.0.0.1]",
            "010.0.0.1",
            "10.0.0.256",
            "10.0.0.1.",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn destinations_are_read_as_in_a_host_header() {
        let table = [
            ("a.example", "a.example:80"),
            ("a.example:8080", "a.example:8080"),
            ("[::1]", "[::1]:80"),
            ("[::1]:443", "[::1]:443"),
            ("10.0.0.1:5432", "10.0.0.1:5432"),
        ];
        for (text, printed) in table {
            assert_eq!(
                Destination::parse(text, Some(80)).unwrap().to_string(),
                printed,
                "{text}"
            );
        }
        for text in [
            "a.example:",
            "a.example:0",
            "a.example:65536",
            "a.example:+80",
            "a:b:80",
            "u@a:80",
            "[::1]x:80",
        ] {
            assert!(Destination::parse(text, Some(80)).is_err(), "{text}");
        }
        assert_eq!(Destination::parse("a.example", None), Err(HostError::NoPort));
    }
}
