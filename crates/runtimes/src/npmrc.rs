//! The text of an `.npmrc`: `key = value` lines, with `${VARIABLE}` put in from the environment, as npm reads them.
//!
//! Only what hostler asks for is kept from being shown: the type has no `Debug`, since values are credentials.

use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Npmrc(BTreeMap<String, String>);

impl Npmrc {
    pub(crate) fn parse(text: &str, variables: &BTreeMap<String, String>) -> Self {
        let entries = text.lines().filter_map(|line| {
            let line = line.trim();
            if line.starts_with([';', '#', '[']) {
                return None;
            }
            let (key, value) = line.split_once('=')?;
            Some((expand(bare(key), variables), expand(bare(value), variables)))
        });
        Self(entries.collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty() && *value != "null")
    }

    /// The values below `//host/path/:`, as (`//host/path/`, key, value).
    pub(crate) fn of_hosts(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().filter_map(|(key, value)| {
            let (place, name) = key.rsplit_once(':')?;
            place.starts_with("//").then_some((place, name, value.as_str()))
        })
    }
}

fn bare(text: &str) -> &str {
    let text = text.trim();
    ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(text)
}

/// A variable that is not set stays as it is written, which no server takes for a credential; with `?` it is empty.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else {
            break;
        };
        let (written, name) = (&rest[start..=start + length], &rest[start + 2..start + length]);
        expanded.push_str(&rest[..start]);
        let optional = name.strip_suffix('?');
        match (variables.get(optional.unwrap_or(name)), optional) {
            (Some(value), _) => expanded.push_str(value),
            (None, Some(_)) => {}
            (None, None) => expanded.push_str(written),
        }
        rest = &rest[start + length + 1..];
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_npm_reads_them() {
        let variables = BTreeMap::from([("TOKEN".to_owned(), "s3cret".to_owned())]);
        let text = "; a comment\n# another\nregistry = \"http://r.test/\"\n[section]\nempty=\nproxy=null\n\
            //r.test/:_authToken=${TOKEN}\n//r.test:81/a/:_authToken=${NONE}-${NONE?}x${TOKEN\nno line\n";
        let npmrc = Npmrc::parse(text, &variables);
        assert_eq!(npmrc.get("registry"), Some("http://r.test/"));
        assert_eq!(npmrc.get("empty"), None);
        assert_eq!(npmrc.get("proxy"), None);
        let hosts: Vec<_> = npmrc.of_hosts().collect();
        assert_eq!(
            hosts,
            [
                ("//r.test/", "_authToken", "s3cret"),
                ("//r.test:81/a/", "_authToken", "${NONE}-x${TOKEN"),
            ]
        );
    }
}
