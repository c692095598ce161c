//! An ordered list of patterns, and the decisions made from it. The first pattern that matches allows; what none
//! matches is refused.

use crate::{AddressClass, Destination, Host, HostName, Pattern, PatternError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

const MAX_RULES: usize = 1000;
/// Transparent listeners besides 80 and 443: each costs a descriptor in every sandbox.
const MAX_EXPLICIT_PORTS: usize = 2;

/// Stored as the list of its patterns' texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Rules {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("{count} host patterns are more than {MAX_RULES}; use wildcards, like *.example.com")]
    TooMany { count: usize },
    #[error(
        "host names with ports {ports:?}: besides 80 and 443 at most {MAX_EXPLICIT_PORTS} different ports can be served"
    )]
    TooManyPorts { ports: Vec<u16> },
}

/// The pattern that allowed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatchedRule {
    /// Its place in the list, from 0.
    pub index: usize,
    pub text: String,
}

/// `allowed` exactly if there is a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub rule: Option<MatchedRule>,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A rule allows it.
    Rule,
    /// No rule is about the host.
    NoRule,
    /// Rules are about the host, but not on this port; `allowed_on` is the first of them.
    Port { allowed_on: String },
    /// The address is not public, and no rule names it.
    Address { address: IpAddr, class: AddressClass },
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule => formatter.write_str("a rule allows it"),
            Self::NoRule => formatter.write_str("no rule allows it"),
            Self::Port { allowed_on } => write!(formatter, "the rule for it is for {allowed_on}"),
            Self::Address { address, class } if class.is_never_allowed() => {
                write!(
                    formatter,
                    "{address} is of the {class} addresses, which no rule can allow"
                )
            }
            Self::Address { address, class } => {
                write!(
                    formatter,
                    "{address} is a {class} address, which a rule must name itself"
                )
            }
        }
    }
}

impl Rules {
    /// No rules: nothing is allowed.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every public host on every port.
    pub fn unrestricted() -> Self {
        Self {
            patterns: vec![Pattern::everything()],
        }
    }

    pub fn parse<T: AsRef<str>>(patterns: impl IntoIterator<Item = T>) -> Result<Self, RulesError> {
        let parsed: Result<Vec<Pattern>, PatternError> =
            patterns.into_iter().map(|text| text.as_ref().parse()).collect();
        Self::new(parsed?)
    }

    pub fn new(patterns: Vec<Pattern>) -> Result<Self, RulesError> {
        if patterns.len() > MAX_RULES {
            return Err(RulesError::TooMany {
                count: patterns.len(),
            });
        }
        let rules = Self { patterns };
        let ports = rules.explicit_ports();
        if ports.len() > MAX_EXPLICIT_PORTS {
            return Err(RulesError::TooManyPorts { ports });
        }
        Ok(rules)
    }

    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    pub fn decide(&self, destination: &Destination) -> Decision {
        let found = self
            .patterns
            .iter()
            .enumerate()
            .find(|(_, pattern)| pattern.matches(destination));
        match found {
            Some((index, pattern)) => Decision {
                allowed: true,
                rule: Some(MatchedRule {
                    index,
                    text: pattern.to_string(),
                }),
                reason: Reason::Rule,
            },
            None => Decision {
                allowed: false,
                rule: None,
                reason: self.why_not(&destination.host),
            },
        }
    }

    fn why_not(&self, host: &Host) -> Reason {
        if let Some(pattern) = self.patterns.iter().find(|pattern| pattern.covers(host)) {
            return Reason::Port {
                allowed_on: pattern.ports().to_string(),
            };
        }
        match host {
            Host::Address(address) if AddressClass::of(*address) != AddressClass::Public => Reason::Address {
                address: *address,
                class: AddressClass::of(*address),
            },
            _ => Reason::NoRule,
        }
    }

    /// Whether an address that an allowed name resolved to may be connected to: a public one may, any other only if
    /// a rule names it with this port. So a name cannot be rebound to this machine or its network.
    pub fn admit_address(&self, address: IpAddr, port: u16) -> Result<(), Reason> {
        let class = AddressClass::of(address);
        let named = || self.decide(&Destination::new(address.into(), port)).allowed;
        if class == AddressClass::Public || named() {
            return Ok(());
        }
        Err(Reason::Address {
            address: address.to_canonical(),
            class,
        })
    }

    /// Whether the name is allowed on any port, so that a resolver may answer for it.
    pub fn may_resolve(&self, name: &HostName) -> bool {
        let host = Host::Name(name.clone());
        self.patterns.iter().any(|pattern| pattern.covers(&host))
    }

    /// Ports, besides 80 and 443, on which names are allowed; ascending and at most 2. Addresses need none: only
    /// names have synthetic addresses, so only they are reached without the proxy.
    pub fn explicit_ports(&self) -> Vec<u16> {
        let by_name = self.patterns.iter().filter(|pattern| pattern.is_by_name());
        let mut ports: Vec<u16> = by_name
            .filter_map(|pattern| match pattern.ports() {
                crate::Ports::One(port) if port != 80 && port != 443 => Some(port),
                _ => None,
            })
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl TryFrom<Vec<String>> for Rules {
    type Error = RulesError;
    fn try_from(texts: Vec<String>) -> Result<Self, RulesError> {
        Self::parse(texts)
    }
}

impl From<Rules> for Vec<String> {
    fn from(rules: Rules) -> Self {
        rules.patterns.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for Rules {
    /// Separated by commas.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.patterns.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{pattern}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> Rules {
        Rules::parse(patterns).unwrap()
    }

    fn decide(rules: &Rules, destination: &str) -> Decision {
        rules.decide(&Destination::parse(destination, None).unwrap())
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let decision = decide(&Rules::none(), "example.com:443");
        assert_eq!(
            decision,
            Decision {
                allowed: false,
                rule: None,
                reason: Reason::NoRule
            }
        );
    }

    #[test]
    fn hosts_and_ports_are_allowed_exactly_as_named() {
        let table = [
            ("api.example.com", "api.example.com:443", true),
            ("api.example.com", "API.EXAMPLE.COM.:80", true),
            ("api.example.com", "api.example.com:8443", false),
            ("api.example.com", "www.example.com:443", false),
            ("api.example.com", "x.api.example.com:443", false),
            ("api.example.com", "api.example.com.evil.org:443", false),
            ("api.example.com:8443", "api.example.com:8443", true),
            ("api.example.com:8443", "api.example.com:443", false),
            ("*.example.com", "a.example.com:443", true),
            ("*.example.com", "a.b.c.example.com:80", true),
            ("*.example.com", "example.com:443", false),
            ("*.example.com", "badexample.com:443", false),
            ("*.example.com", "example.com.evil.org:443", false),
            ("*.example.com:8443", "a.example.com:8443", true),
            ("*.example.com:8443", "a.example.com:443", false),
            ("1.1.1.1", "1.1.1.1:443", true),
            ("1.1.1.1", "1.1.1.2:443", false),
            ("10.0.0.5:5432", "10.0.0.5:5432", true),
            ("10.0.0.5:5432", "[::ffff:10.0.0.5]:5432", true),
            ("10.0.0.5:5432", "10.0.0.5:80", false),
            ("10.0.0.0/8:5432", "10.9.9.9:5432", true),
            ("0.0.0.0/0", "8.8.8.8:443", true),
            ("0.0.0.0/0", "127.0.0.1:80", false),
            ("0.0.0.0/0", "169.254.169.254:80", false),
            ("169.254.169.254", "169.254.169.254:80", true),
            ("[::1]:80", "[::1]:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
        ];
        for (pattern, destination, allowed) in table {
            let decision = decide(&rules(&[pattern]), destination);
            assert_eq!(decision.allowed, allowed, "{pattern} {destination}");
            assert_eq!(decision.rule.is_some(), allowed, "{pattern} {destination}");
        }
    }

    #[test]
    fn everything_is_every_public_host_and_nothing_of_this_machine() {
        let rules = Rules::unrestricted();
        assert_eq!(rules, Rules::parse(["*:*"]).unwrap());
        let table = [
            ("a.example:443", true),
            ("a.example:22", true),
            ("8.8.8.8:53", true),
            ("10.0.0.5:5432", false),
            ("127.0.0.1:80", false),
            ("169.254.169.254:80", false),
            ("localhost:80", false),
        ];
        for (destination, allowed) in table {
            assert_eq!(decide(&rules, destination).allowed, allowed, "{destination}");
        }
        assert!(rules.admit_address("8.8.8.8".parse().unwrap(), 22).is_ok());
        assert!(rules.admit_address("10.0.0.5".parse().unwrap(), 22).is_err());
        assert_eq!(rules.explicit_ports(), [0_u16; 0]);
    }

    #[test]
    fn the_first_rule_that_matches_is_named() {
        let rules = rules(&["b.example", "*.example.com", "a.example.com"]);
        let rule = decide(&rules, "a.example.com:443").rule.unwrap();
        assert_eq!(
            rule,
            MatchedRule {
                index: 1,
                text: "*.example.com".to_owned()
            }
        );
    }

    #[test]
    fn a_refusal_says_what_kept_it_out() {
        let rules = rules(&["api.example.com", "db.example.com:5432"]);
        let table = [
            ("evil.example:443", "no rule allows it"),
            ("api.example.com:22", "the rule for it is for ports 80 and 443"),
            ("db.example.com:443", "the rule for it is for port 5432"),
            ("8.8.8.8:443", "no rule allows it"),
            (
                "192.168.0.1:80",
                "192.168.0.1 is a private address, which a rule must name itself",
            ),
        ];
        for (destination, reason) in table {
            assert_eq!(
                decide(&rules, destination).reason.to_string(),
                reason,
                "{destination}"
            );
        }
    }

    #[test]
    fn addresses_behind_a_name_are_public_or_named_with_their_port() {
        let rules = rules(&["db.example.com:5432", "10.0.0.5:5432", "192.168.0.0/16"]);
        let table = [
            ("93.184.216.34", 5432, true),
            ("10.0.0.5", 5432, true),
            ("::ffff:10.0.0.5", 5432, true),
            ("10.0.0.5", 443, false),
            ("10.0.0.6", 5432, false),
            ("192.168.7.7", 443, true),
            ("127.0.0.1", 443, false),
            ("169.254.169.254", 80, false),
            ("::1", 443, false),
            ("64:ff9b::10.0.0.6", 5432, false),
        ];
        for (address, port, admitted) in table {
            let result = rules.admit_address(address.parse().unwrap(), port);
            assert_eq!(result.is_ok(), admitted, "{address} {port}");
        }
    }

    #[test]
    fn names_resolve_only_where_a_rule_is_about_them() {
        let rules = rules(&["*.example.com:8443", "api.example.org", "10.0.0.5"]);
        for (name, expected) in [
            ("a.example.com", true),
            ("example.com", false),
            ("api.example.org", true),
            ("www.example.org", false),
        ] {
            assert_eq!(rules.may_resolve(&name.parse().unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn at_most_two_ports_of_names_are_served_besides_the_web_s() {
        let fine = rules(&[
            "a.example:5432",
            "b.example:22",
            "*.b.example:22",
            "c.example:443",
            "10.0.0.1:9",
            "10.0.0.2:10",
        ]);
        assert_eq!(fine.explicit_ports(), [22, 5432]);
        let error = Rules::parse(["a.example:3", "a.example:1", "a.example:2"]).unwrap_err();
        assert_eq!(error, RulesError::TooManyPorts { ports: vec![1, 2, 3] });
    }

    #[test]
    fn more_rules_than_anyone_needs_are_refused() {
        let many = std::iter::repeat_n("a.example", MAX_RULES + 1);
        assert!(matches!(
            Rules::parse(many),
            Err(RulesError::TooMany { count: 1001 })
        ));
    }

    #[test]
    fn rules_are_stored_as_the_texts_they_were_written_in() {
        let rules = rules(&["A.example", "*.b.example:8443", "[::1]:80"]);
        let json = serde_json::to_string(&rules).unwrap();
        assert_eq!(json, r#"["a.example","*.b.example:8443","[::1]:80"]"#);
        assert_eq!(serde_json::from_str::<Rules>(&json).unwrap(), rules);
        assert!(serde_json::from_str::<Rules>(r#"["*"]"#).is_err());
    }
}
