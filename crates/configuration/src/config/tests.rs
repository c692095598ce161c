//! The reference and the types say the same, and what is wrong in a file is named with its place.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::document::Document;
use crate::keys::{KNOWN, values_of};
use std::collections::BTreeSet;
use std::path::Path;

/// The reference with every key in force.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase()) => key.to_owned(),
        _ => line.to_owned(),
    };
    REFERENCE.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn parse(text: &str) -> Result<Document, String> {
    Document::parse(Path::new("/etc/hostler/hostler.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn the_reference_has_every_key_with_its_default() {
    let document = parse(&uncommented()).unwrap();
    assert_eq!(document.config, Config::complete());
    let there: BTreeSet<_> = document.keys.iter().map(|(key, _)| key.as_str()).collect();
    let known: BTreeSet<_> = KNOWN.keys().map(String::as_str).collect();
    assert_eq!(there, known);
    assert_eq!(document.keys.len(), known.len());
}

#[test]
fn the_reference_as_it_is_says_nothing() {
    let document = parse(REFERENCE).unwrap();
    assert_eq!(document.config, Config::default());
    assert_eq!(document.keys, []);
}

#[test]
fn every_key_of_the_reference_is_explained() {
    let lines: Vec<_> = REFERENCE.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        assert!(line.chars().count() <= 120, "line {}", number + 1);
        let is_key = line.starts_with('#') && !line.starts_with("# ");
        // A second key right below the first is explained with it.
        let mut above = lines[..number]
            .iter()
            .rev()
            .skip_while(|above| above.starts_with('#') && !above.starts_with("# "));
        assert!(
            !is_key || above.next().is_some_and(|above| above.starts_with("# ")),
            "{line}"
        );
    }
}

#[test]
fn a_key_without_a_default_is_known_all_the_same() {
    let unset: Vec<_> = KNOWN
        .keys()
        .filter(|key| !values_of(&Config::default()).contains_key(*key))
        .collect();
    assert_eq!(
        unset,
        [
            "admin_key_file",
            "data",
            "upstream.api_key_file",
            "upstream.base_url"
        ]
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line_its_key_and_what_is_allowed() {
    let table = [
        ("pool = 8\npool = 9", "line 2: duplicate key"),
        ("pool 8", "line 1: "),
        (
            "\npool = 65",
            "line 2: `pool` must be a whole number from 0 to 64, and not 65",
        ),
        (
            "pool = -1",
            "`pool` must be a whole number from 0 to 64, and not -1",
        ),
        (
            "pool = \"8\"",
            "`pool` must be a whole number from 0 to 64, and not \"8\"",
        ),
        (
            "pool = 1.5",
            "`pool` must be a whole number from 0 to 64, and not 1.5",
        ),
        (
            "[pool]\na = 1",
            "`pool` must be a whole number from 0 to 64, and not a table",
        ),
        (
            "open_metrics = 1",
            "`open_metrics` must be true or false, and not 1",
        ),
        (
            "data = \"data\"",
            "`data` must be a path that begins with /, and not \"data\"",
        ),
        (
            "jailer = \"none\"",
            "`jailer` must be \"own\" or \"service\", and not \"none\"",
        ),
        (
            "log = \"a=b=c\"",
            "`log` must be a filter like \"debug\" or \"info,gateway=debug\", and not \"a=b=c\"",
        ),
        (
            "listen = [\"127.0.0.1:8700\", \"example.com:80\"]",
            "`listen` must be an address with its port, like \"127.0.0.1:8700\" or \"[::1]:8700\", or a list of 1 to 16 \
             of them, and not [\"127.0.0.1:8700\", \"example.com:80\"]",
        ),
        (
            "# one\n[limits]\n# two\nbody_pause = 30",
            "line 4: `limits.body_pause` must be a time from 1s to 1h, like \"30s\", and not 30",
        ),
        (
            "limits.head_bytes = \"4K\"",
            "line 1: `limits.head_bytes` must be a size from 8K to 1M, and not \"4K\"",
        ),
        (
            "[sandbox]\ncpus = 0",
            "line 2: `sandbox.cpus` must be a number from 0.01 to 1024, and not 0",
        ),
        (
            "[upstream]\nbase_url = \"models.example\"",
            "`upstream.base_url` must be an http or https URL, like \"https://models.example.com\", and not",
        ),
        (
            "rates = 5",
            "line 1: `rates` is a table: begin it with a line [rates]",
        ),
    ];
    for (text, expected) in table {
        let said = parse(text).unwrap_err();
        assert!(said.starts_with("/etc/hostler/hostler.toml, line "), "{said}");
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn a_key_that_is_not_known_is_answered_with_the_one_that_was_meant() {
    let table = [
        ("pol = 8", "there is no key `pol`: did you mean `pool`?"),
        (
            "[limits]\nbody_deadlin = \"1m\"",
            "line 2: there is no key `limits.body_deadlin`: did you mean `limits.body_deadline`?",
        ),
        (
            "[egress]\npool = 8",
            "line 2: there is no key `egress.pool`: `pool` stands before the first table",
        ),
        (
            "[limit]\nping = \"9s\"",
            "line 1: there is no key `limit`: did you mean `limits`?",
        ),
        (
            "[server]\nstreams = \"9s\"",
            "there is no key `server`: there are `admin_key_file`, `data`, `egress`, `ending`,",
        ),
        (
            "requests = \"9s\"",
            "there is no key `requests`: did you mean `ending.requests`?",
        ),
        (
            "[ending]\nzzz = 1",
            "there is no key `ending.zzz`: there are `requests`, `streams`",
        ),
        (
            "[upstream]\napi_key = \"sk-secret\"",
            "`upstream.api_key`: a key does not belong in this file",
        ),
        (
            "api_key = \"sk-secret\"",
            "name that one as `upstream.api_key_file`",
        ),
        ("admin_key = \"hk_secret\"", "name that one as `admin_key_file`"),
    ];
    for (text, expected) in table {
        let said = parse(text).unwrap_err();
        assert!(said.contains(expected), "{text}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
