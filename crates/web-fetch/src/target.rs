//! The URL that is asked for, and where a redirect from it may lead.

use url::{Host, Url};

const MAX_LENGTH: usize = 2_000;

/// An `http` or `https` URL of bounded length, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("the URL is not valid: {reason}")]
    NotAUrl { reason: String },
    #[error("the URL is longer than {MAX_LENGTH} characters")]
    TooLong,
    #[error("only http and https URLs can be fetched, not {scheme}")]
    Scheme { scheme: String },
    #[error("a URL with a user name or a password cannot be fetched")]
    Credentials,
}

/// Where an answer says to look instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    Here(Target),
    Elsewhere { url: String },
}

impl Target {
    /// Plain `http` becomes `https`, but on this machine and where a port is named.
    pub fn parse(text: &str) -> Result<Self, BadTarget> {
        let text = text.trim();
        if text.len() > MAX_LENGTH {
            return Err(BadTarget::TooLong);
        }
        let mut url = Url::parse(text).map_err(|error| BadTarget::NotAUrl {
            reason: error.to_string(),
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadTarget::Scheme {
                scheme: url.scheme().to_owned(),
            });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadTarget::Credentials);
        }
        url.set_fragment(None);
        // A port that is the scheme's own reads as none, so the text is asked.
        if url.scheme() == "http" && url.port().is_none() && !names_port(text) && !is_loopback(&url) {
            // Between these two schemes it cannot fail.
            let _ = url.set_scheme("https");
        }
        Ok(Self { url })
    }

    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// In lower case, without a final dot; an address without brackets.
    pub fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').to_ascii_lowercase(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// `location` as an answer to this URL gives it.
    pub(crate) fn redirect(&self, location: &str) -> Result<Redirect, BadTarget> {
        let url = self
            .url
            .join(location.trim())
            .map_err(|error| BadTarget::NotAUrl {
                reason: error.to_string(),
            })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadTarget::Scheme {
                scheme: url.scheme().to_owned(),
            });
        }
        let same_scheme = url.scheme() == self.url.scheme();
        let is_upgrade = self.url.scheme() == "http" && url.scheme() == "https";
        let port = |url: &Url| url.port_or_known_default();
        let same_port = if same_scheme {
            port(&url) == port(&self.url)
        } else {
            url.port().is_none() && self.url.port().is_none()
        };
        let mut other = Self { url };
        if other.host() != self.host() || !(same_scheme || is_upgrade) || !same_port {
            return Ok(Redirect::Elsewhere {
                url: other.as_str().chars().take(MAX_LENGTH).collect(),
            });
        }
        if other.as_str().len() > MAX_LENGTH {
            return Err(BadTarget::TooLong);
        }
        if !other.url.username().is_empty() || other.url.password().is_some() {
            return Err(BadTarget::Credentials);
        }
        other.url.set_fragment(None);
        Ok(Redirect::Here(other))
    }
}

fn names_port(text: &str) -> bool {
    let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = after_scheme
        .split(['/', '?', '#', '\\'])
        .next()
        .unwrap_or_default();
    let after_address = authority.rsplit(']').next().unwrap_or_default();
    after_address
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_upgraded_but_on_this_machine_and_at_a_named_port() {
        for (given, expected) in [
            ("http://example.com/a#b", "https://example.com/a"),
            (" https://example.com ", "https://example.com/"),
            ("http://example.com:80/", "http://example.com/"),
            ("http://example.com:8080/", "http://example.com:8080/"),
            ("http://localhost/", "http://localhost/"),
            ("http://a.localhost./", "http://a.localhost./"),
            ("http://127.1.2.3/", "http://127.1.2.3/"),
            ("http://[::1]/", "http://[::1]/"),
            ("http://[2001:db8::1]/", "https://[2001:db8::1]/"),
            ("http://localhost.example.com/", "https://localhost.example.com/"),
        ] {
            assert_eq!(Target::parse(given).unwrap().as_str(), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_page_is_refused_in_words() {
        let long = format!("https://example.com/{}", "a".repeat(3_000));
        for (given, part) in [
            ("example.com", "not valid"),
            ("", "not valid"),
            ("file:///etc/passwd", "not file"),
            ("ftp://example.com", "not ftp"),
            ("javascript:alert(1)", "not javascript"),
            ("https://user@example.com", "user name"),
            ("https://:secret@example.com", "password"),
            (&long, "longer"),
        ] {
            let error = Target::parse(given).unwrap_err().to_string();
            assert!(error.contains(part), "{given}: {error}");
        }
    }

    #[test]
    fn hosts_are_compared_in_one_form() {
        for (given, host) in [
            ("https://EXAMPLE.com./a", "example.com"),
            ("https://b\u{fc}cher.example/", "xn--bcher-kva.example"),
            ("https://0x7f.1/", "127.0.0.1"),
            ("https://[::1]:9/", "::1"),
        ] {
            assert_eq!(Target::parse(given).unwrap().host(), host);
        }
    }

    #[test]
    fn redirects_stay_on_their_host_scheme_and_port() {
        let from = |from: &str, location: &str| Target::parse(from).unwrap().redirect(location);
        for (start, location, expected) in [
            ("https://a.com/x", "/y", "https://a.com/y"),
            ("https://a.com/x/", "y?z#f", "https://a.com/x/y?z"),
            ("https://a.com/", "//A.com./z", "https://a.com./z"),
            (
                "http://127.0.0.1:1/",
                "http://127.0.0.1:1/b",
                "http://127.0.0.1:1/b",
            ),
            ("http://localhost/", "https://localhost/b", "https://localhost/b"),
        ] {
            let Ok(Redirect::Here(target)) = from(start, location) else {
                panic!("{start} {location}")
            };
            assert_eq!(target.as_str(), expected);
        }
        for (start, location) in [
            ("https://a.com/", "https://b.com/"),
            ("https://a.com/", "https://www.a.com/"),
            ("https://a.com/", "http://a.com/"),
            ("https://a.com/", "https://a.com:444/"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:2/"),
        ] {
            assert!(
                matches!(from(start, location), Ok(Redirect::Elsewhere { .. })),
                "{start} {location}"
            );
        }
        for location in ["file:///etc/passwd", "https://u:p@a.com/", "http://[", "data:,x"] {
            assert!(from("https://a.com/", location).is_err(), "{location}");
        }
    }
}
