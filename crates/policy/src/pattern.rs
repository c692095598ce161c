//! One `--allow-host` pattern: `api.example.com`, `*.example.com`, `host:port`, `10.0.0.5:5432`, `[::1]:80`,
//! `10.0.0.0/8:5432`. What is printed parses to the same pattern again.
//!
//! Without a port a pattern means 80 and 443. `*.` stands for one or more labels, so it does not match the name
//! behind it. `*:*` is every name and every public address on every port; a lone `*` is refused, so that nobody
//! opens everything by a slip.

use crate::host::{parse_port, split_port};
use crate::{AddressClass, Destination, Host, HostError, HostName, Network};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

const MAX_PATTERN_BYTES: usize = 300;
const SHOWN_CHARACTERS: usize = 80;
const EVERYTHING: &str = "*:*";

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    target: Target,
    ports: Ports,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Target {
    Name(HostName),
    /// Every name below this one.
    Below(HostName),
    Network(Network),
    /// Every name, and every public address.
    Everything,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ports {
    /// 80 and 443.
    Web,
    One(u16),
    Any,
}

impl Ports {
    pub fn contain(self, port: u16) -> bool {
        match self {
            Self::Web => port == 80 || port == 443,
            Self::One(one) => port == one,
            Self::Any => true,
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web => formatter.write_str("ports 80 and 443"),
            Self::One(port) => write!(formatter, "port {port}"),
            Self::Any => formatter.write_str("every port"),
        }
    }
}

/// A pattern that cannot be used: what is wrong, where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("host pattern {pattern:?}, character {position}: {problem}")]
pub struct PatternError {
    /// Shortened to what can be shown.
    pub pattern: String,
    /// In characters, from 1.
    pub position: usize,
    pub problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("it is empty; write a host, like api.example.com")]
    Empty,
    #[error("it is longer than {MAX_PATTERN_BYTES} bytes; give one host at a time")]
    TooLong,
    #[error("a pattern has no scheme; write {suggestion:?}")]
    Scheme { suggestion: String },
    #[error("a pattern has no path, access is to whole hosts; write {suggestion:?}")]
    Path { suggestion: String },
    #[error("a pattern has no user name; write {suggestion:?}")]
    UserInfo { suggestion: String },
    #[error("a pattern is one host without spaces or commas; give each host on its own")]
    Several,
    #[error("this would allow every host; name the hosts that are needed, like *.example.com")]
    Everything,
    #[error("this would allow every host below {suffix:?}; name one more label, like *.example.{suffix}")]
    WideWildcard { suffix: String },
    #[error("a star stands for whole labels at the beginning only, like *.example.com")]
    Star,
    #[error(
        "inside a sandbox localhost is the sandbox itself; for a service of this machine write 127.0.0.1:PORT"
    )]
    Localhost,
    #[error("this is not a network; write its first address and its length, like 10.0.0.0/8")]
    Network,
    #[error("{class} addresses cannot be allowed")]
    NeverAllowed { class: AddressClass },
    #[error(transparent)]
    Host(HostError),
}

impl Pattern {
    /// `*:*`.
    pub(crate) const fn everything() -> Self {
        Self {
            target: Target::Everything,
            ports: Ports::Any,
        }
    }

    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Whether the pattern is about this host, whatever the port.
    pub fn covers(&self, host: &Host) -> bool {
        match (&self.target, host) {
            (Target::Name(name), Host::Name(asked)) => name == asked,
            (Target::Below(suffix), Host::Name(asked)) => is_below(asked.as_str(), suffix.as_str()),
            (Target::Network(network), Host::Address(address)) => network.admits(*address),
            (Target::Everything, Host::Name(name)) => !name.is_localhost(),
            (Target::Everything, Host::Address(address)) => {
                AddressClass::of(*address) == AddressClass::Public
            }
            (Target::Name(_) | Target::Below(_), Host::Address(_)) | (Target::Network(_), Host::Name(_)) => {
                false
            }
        }
    }

    pub fn matches(&self, destination: &Destination) -> bool {
        self.ports.contain(destination.port) && self.covers(&destination.host)
    }

    /// About names, so that it can be meant by a synthetic address.
    pub(crate) fn is_by_name(&self) -> bool {
        !matches!(self.target, Target::Network(_))
    }
}

/// Ends in a dot and the suffix, with at least one character before.
fn is_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix)
        .and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(|rest| !rest.is_empty())
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Name(name) => name.fmt(formatter)?,
            Target::Below(suffix) => write!(formatter, "*.{suffix}")?,
            Target::Network(network) => network.fmt(formatter)?,
            Target::Everything => return formatter.write_str(EVERYTHING),
        }
        match self.ports {
            Ports::Web | Ports::Any => Ok(()),
            Ports::One(port) => write!(formatter, ":{port}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        parse(text).map_err(|(offset, problem)| PatternError {
            pattern: text.chars().take(SHOWN_CHARACTERS).collect(),
            position: text.get(..offset).map_or(0, |before| before.chars().count()) + 1,
            problem,
        })
    }
}

/// Fails with the byte where the problem is.
fn parse(text: &str) -> Result<Pattern, (usize, Problem)> {
    if text == EVERYTHING {
        return Ok(Pattern::everything());
    }
    check_shape(text)?;
    let (host, port) = split_port(text);
    let ports = match port {
        Some(port) => Ports::One(parse_port(port).map_err(|error| (host.len() + 1, Problem::Host(error)))?),
        None => Ports::Web,
    };
    let target = match host.split_once('/') {
        Some(_) => Target::Network(parse_network(text, host)?),
        None => parse_host(host)?,
    };
    Ok(Pattern { target, ports })
}

/// What people paste, told apart before the parser would find something obscure.
fn check_shape(text: &str) -> Result<(), (usize, Problem)> {
    if text.is_empty() {
        return Err((0, Problem::Empty));
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err((MAX_PATTERN_BYTES, Problem::TooLong));
    }
    if let Some(offset) = text.find(|c: char| c.is_whitespace() || c == ',' || c == ';') {
        return Err((offset, Problem::Several));
    }
    if text.contains("://") {
        return Err((
            0,
            Problem::Scheme {
                suggestion: authority(text).to_owned(),
            },
        ));
    }
    if let Some(offset) = text.find('@') {
        return Err((
            offset,
            Problem::UserInfo {
                suggestion: authority(text).to_owned(),
            },
        ));
    }
    Ok(())
}

/// The host and port of something like a URL.
fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let whole = &rest[..end];
    whole.rsplit_once('@').map_or(whole, |(_, host)| host)
}

fn parse_network(text: &str, host: &str) -> Result<Network, (usize, Problem)> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let (address, length) = bare.split_once('/').unwrap_or((bare, ""));
    let slash = text.find('/').unwrap_or(0);
    let address: IpAddr = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
        (Ok(v4), _) => v4.into(),
        (_, Ok(v6)) if host.starts_with('[') => v6.into(),
        (_, Ok(_)) => return Err((0, Problem::Host(HostError::Address))),
        _ => {
            return Err((
                slash,
                Problem::Path {
                    suggestion: authority(text).to_owned(),
                },
            ));
        }
    };
    let digits = length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = length
        .parse::<u8>()
        .ok()
        .filter(|_| digits)
        .ok_or((slash + 1, Problem::Network))?;
    check_class(Network::new(address, prefix).ok_or((slash + 1, Problem::Network))?)
}

fn parse_host(host: &str) -> Result<Target, (usize, Problem)> {
    let (name, skipped) = match host.strip_prefix("*.") {
        Some(suffix) => (suffix, 2),
        None => (host, 0),
    };
    if host == "*" || host == "*." {
        return Err((0, Problem::Everything));
    }
    if let Some(offset) = name.find('*') {
        return Err((offset + skipped, Problem::Star));
    }
    let parsed = name.parse::<Host>();
    match parsed.map_err(|error| (skipped + locate(name, &error), Problem::Host(error)))? {
        Host::Address(_) if skipped > 0 => Err((0, Problem::Star)),
        Host::Address(address) => check_class(Network::single(address)).map(Target::Network),
        Host::Name(name) if name.is_localhost() => Err((skipped, Problem::Localhost)),
        Host::Name(name) if skipped == 0 => Ok(Target::Name(name)),
        Host::Name(name) if name.as_str().contains('.') => Ok(Target::Below(name)),
        Host::Name(name) => Err((
            skipped,
            Problem::WideWildcard {
                suffix: name.to_string(),
            },
        )),
    }
}

fn check_class(network: Network) -> Result<Network, (usize, Problem)> {
    network
        .never_allowed()
        .map_or(Ok(network), |class| Err((0, Problem::NeverAllowed { class })))
}

fn locate(name: &str, error: &HostError) -> usize {
    let found = match error {
        HostError::NotAscii { character } | HostError::Character { character } => name.find(*character),
        HostError::EmptyLabel if name.starts_with('.') => Some(0),
        HostError::EmptyLabel => name.find("..").map(|dots| dots + 1),
        HostError::LongLabel { label } | HostError::Hyphen { label } => name.find(label.as_str()),
        HostError::EndsInNumber => name.trim_end_matches('.').rfind('.').map(|dot| dot + 1),
        _ => None,
    };
    found.unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_print_as_they_are_read() {
        let table = [
            ("api.example.com", "api.example.com"),
            ("API.Example.com.", "api.example.com"),
            ("api.example.com:443", "api.example.com:443"),
            ("*.example.com", "*.example.com"),
            ("*.Example.com:8443", "*.example.com:8443"),
            ("intranet:8080", "intranet:8080"),
            ("10.0.0.5:5432", "10.0.0.5:5432"),
            ("[::1]:80", "[::1]:80"),
            ("[2606:4700::1111]", "[2606:4700::1111]"),
            ("[::ffff:10.0.0.5]:80", "10.0.0.5:80"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8:5432", "10.0.0.0/8:5432"),
            ("10.0.0.5/32", "10.0.0.5"),
            ("[fd00::/8]:443", "[fd00::/8]:443"),
            ("_x.xn--bcher-kva.example", "_x.xn--bcher-kva.example"),
            ("*:*", "*:*"),
        ];
        for (text, printed) in table {
            let pattern: Pattern = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(pattern.to_string(), printed, "{text}");
            assert_eq!(printed.parse::<Pattern>().unwrap(), pattern, "{text}");
        }
    }

    fn check_messages(table: &[(&str, usize, &str)]) {
        for (text, position, message) in table {
            let error = text.parse::<Pattern>().unwrap_err();
            let expected = format!("host pattern {text:?}, character {position}: {message}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn what_people_paste_is_answered_with_what_to_write() {
        check_messages(&[
            ("", 1, "it is empty; write a host, like api.example.com"),
            (
                "https://a.example:8443/v1?x=1",
                1,
                "a pattern has no scheme; write \"a.example:8443\"",
            ),
            (
                "https://me:secret@a.example",
                1,
                "a pattern has no scheme; write \"a.example\"",
            ),
            (
                "me@a.example",
                3,
                "a pattern has no user name; write \"a.example\"",
            ),
            (
                "a.example/v1",
                10,
                "a pattern has no path, access is to whole hosts; write \"a.example\"",
            ),
        ]);
        let several = "a pattern is one host without spaces or commas; give each host on its own";
        check_messages(&[("a.example,b.example", 10, several), (" a.example", 1, several)]);
        let localhost = "inside a sandbox localhost is the sandbox itself; for a service of this machine write 127.0.0.1:PORT";
        check_messages(&[("localhost:3000", 1, localhost), ("*.localhost", 3, localhost)]);
    }

    #[test]
    fn stars_that_mean_too_much_or_nothing_are_refused() {
        let everything = "this would allow every host; name the hosts that are needed, like *.example.com";
        check_messages(&[
            ("*", 1, everything),
            ("*:443", 1, everything),
            ("*.", 1, everything),
        ]);
        let wide = "this would allow every host below \"com\"; name one more label, like *.example.com";
        check_messages(&[("*.com", 3, wide), ("*.com.:80", 3, wide)]);
        let star = "a star stands for whole labels at the beginning only, like *.example.com";
        for (text, position) in [
            ("a.*.com", 3),
            ("api*.example", 4),
            ("*.*.example", 3),
            ("*.10.0.0.1", 1),
        ] {
            check_messages(&[(text, position, star)]);
        }
    }

    #[test]
    fn hosts_and_ports_that_do_not_exist_are_shown_where_they_stand() {
        let label = "there is nothing between two dots, or before the first";
        check_messages(&[("a..b", 3, label), ("..", 1, label), (".a", 1, label)]);
        check_messages(&[
            ("-a", 1, "the part \"-a\" begins or ends with a hyphen"),
            ("x.a-:80", 3, "the part \"a-\" begins or ends with a hyphen"),
            (
                "a\u{fc}.b",
                2,
                "'\u{fc}' is not ASCII; write the name in its ASCII form, which begins with xn--",
            ),
            ("a%2e.b", 2, "'%' cannot be in a host name"),
        ]);
        for port in ["0", "99999", "", "http", "-1"] {
            let message = format!("{port:?} is not a port: use a number from 1 to 65535");
            check_messages(&[(&format!("host:{port}"), 6, &message)]);
        }
    }

    #[test]
    fn addresses_are_whole_in_brackets_and_possible() {
        let brackets = "an IPv6 address is written in brackets, like [::1]";
        check_messages(&[("::1", 1, brackets), ("fd00::/8", 1, brackets)]);
        let network = "this is not a network; write its first address and its length, like 10.0.0.0/8";
        check_messages(&[
            ("10.0.0.1/8", 10, network),
            ("10.0.0.0/33", 10, network),
            ("10.0.0.0/", 10, network),
        ]);
        check_messages(&[
            (
                "127.1",
                5,
                "a name cannot end in a number; an IPv4 address has four, like 10.0.0.5",
            ),
            ("0.0.0.0:80", 1, "unspecified addresses cannot be allowed"),
            ("198.18.0.1", 1, "synthetic addresses cannot be allowed"),
            ("[ff02::1]", 1, "multicast addresses cannot be allowed"),
        ]);
    }

    #[test]
    fn an_endless_pattern_is_cut_in_the_message() {
        let error = "a".repeat(100_000).parse::<Pattern>().unwrap_err();
        assert_eq!(error.problem, Problem::TooLong);
        assert!(error.to_string().len() < 300);
    }
}
