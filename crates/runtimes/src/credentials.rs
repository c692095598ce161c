//! What a registry wants to see of us, by the place it is for.
//!
//! A credential goes to the host, port and path that its key names and nowhere else: not along a redirect, not to
//! where a registry says that its archives lie. It is never shown.

use crate::npmrc::Npmrc;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::fmt;
use url::Url;

#[derive(Clone, Default)]
pub(crate) struct Credentials(BTreeMap<String, HeaderValue>);

impl Credentials {
    /// Adds what a file says; where two say something of the same place, the later one wins.
    pub(crate) fn take(&mut self, file: &Npmrc) {
        let mut places: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
        for (place, key, value) in file.of_hosts() {
            places.entry(normal(place)).or_default().insert(key, value);
        }
        for (place, keys) in places {
            if let Some(value) = authorization(&keys) {
                self.put(place, &value);
            }
        }
    }

    pub(crate) fn take_from_url(&mut self, url: &mut Url) {
        if url.username().is_empty() && url.password().is_none() {
            return;
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pair = format!(
            "{}:{}",
            decode(url.username()),
            decode(url.password().unwrap_or_default())
        );
        // Neither fails for a URL that has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        self.put(place(url), &format!("Basic {}", STANDARD.encode(pair)));
    }

    /// For a request to this address: that of the longest path that it lies below.
    pub(crate) fn of(&self, url: &Url) -> Option<HeaderValue> {
        let asked = place(url);
        self.0
            .iter()
            .filter(|(place, _)| asked.starts_with(place.as_str()))
            .max_by_key(|(place, _)| place.len())
            .map(|(_, value)| value.clone())
    }

    fn put(&mut self, place: String, value: &str) {
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(true);
            self.0.insert(place, value);
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

fn authorization(keys: &BTreeMap<&str, &str>) -> Option<String> {
    if let Some(token) = keys.get("_authToken") {
        return Some(format!("Bearer {token}"));
    }
    if let Some(pair) = keys.get("_auth") {
        return Some(format!("Basic {pair}"));
    }
    let password = STANDARD.decode(keys.get("_password")?).ok()?;
    let mut pair = format!("{}:", keys.get("username")?).into_bytes();
    pair.extend(password);
    Some(format!("Basic {}", STANDARD.encode(pair)))
}

/// `//host:port/path/`, with the port where it is not the scheme's own, as npm writes places.
fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let end = if url.path().ends_with('/') { "" } else { "/" };
    format!(
        "//{}{port}{}{end}",
        url.host_str().unwrap_or_default(),
        url.path()
    )
}

fn normal(given: &str) -> String {
    match Url::parse(&format!("https:{given}")) {
        Ok(url) => place(&url),
        Err(_) => given.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(npmrc: &str, url: &str) -> Option<String> {
        let mut credentials = Credentials::default();
        credentials.take(&Npmrc::parse(npmrc, &BTreeMap::new()));
        let value = credentials.of(&Url::parse(url).unwrap())?;
        assert!(value.is_sensitive());
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn credentials_go_to_their_place_only() {
        let npmrc = "//r.test/a/:_authToken=one\n//r.test/a/b/:_authToken=two\n//r.test:81/:_authToken=three";
        for (url, expected) in [
            ("https://r.test/a/pkg", Some("Bearer one")),
            ("https://r.test/a/b/pkg", Some("Bearer two")),
            ("https://r.test:81/pkg", Some("Bearer three")),
            ("https://r.test/ab/pkg", None),
            ("https://r.test/", None),
            ("https://r.test:82/a/pkg", None),
            ("https://r.test.evil.test/a/pkg", None),
            ("https://evil.test/r.test/a/", None),
        ] {
            assert_eq!(sent(npmrc, url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn all_kinds_that_npm_has_are_read() {
        for (npmrc, expected) in [
            ("//r.test/:_auth=bmFtZTp3b3Jk", Some("Basic bmFtZTp3b3Jk")),
            (
                "//r.test/:username=name\n//r.test/:_password=d29yZA==",
                Some("Basic bmFtZTp3b3Jk"),
            ),
            ("//r.test:443/:_authToken=one", Some("Bearer one")),
            ("//r.test/:username=name", None),
            ("_authToken=everywhere", None),
        ] {
            assert_eq!(sent(npmrc, "https://r.test/pkg").as_deref(), expected, "{npmrc}");
        }
    }
}
