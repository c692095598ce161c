//! No package registry's host name in the tree: where packages come from is the machine's configuration, and a name in
//! a tracked file would override it. Lock files write what they are given, so they are left alone.

use super::tree::Tree;
use super::{Finding, Rule};

/// In two parts, so that this file keeps its own rule.
const HOSTS: [(&str, &str); 8] = [
    ("crates", "io"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("proxy.golang", "org"),
    ("rubygems", "org"),
    ("deb.debian", "org"),
];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let hosts: Vec<String> = HOSTS
        .iter()
        .map(|(name, suffix)| format!("{name}.{suffix}"))
        .collect();
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| !is_lock_file(path)) {
        for (index, line) in text.lines().enumerate() {
            if let Some(host) = hosts.iter().find(|host| names(line, host)) {
                let advice = format!("do not name {host}: registries are the machine's configuration");
                findings.push(Finding::new(path, index + 1, Rule::Registry, advice));
            }
        }
    }
    findings
}

fn is_lock_file(path: &str) -> bool {
    [".lock", "-lock.json", "-lock.yaml"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// Whether the line has this host, or a name below it, as a whole word.
fn names(line: &str, host: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.match_indices(host).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + host.len()..].chars().next();
        let continues =
            |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-');
        !continues(before) && !continues(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_as_whole_names() {
        let host = "registry.test";
        for line in [
            "see https://registry.test/x",
            "index.registry.test",
            "REGISTRY.TEST",
        ] {
            assert!(names(line, host), "{line}");
        }
        for line in ["registry.testing", "my-registry.test", "registry_test", ""] {
            assert!(!names(line, host), "{line}");
        }
    }

    #[test]
    fn lock_files_are_left_alone() {
        assert!(is_lock_file("Cargo.lock"));
        assert!(is_lock_file("examples/app/package-lock.json"));
        assert!(!is_lock_file("crates/store/src/lock.rs"));
    }
}
