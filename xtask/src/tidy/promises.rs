//! `docs/security.md`: each promise has an id of its own and a test in `tests/security` that attacks it.
//! The first test there switches the rule on.

use super::tree::Tree;
use super::{Finding, Rule};
use std::collections::BTreeMap;

const PATH: &str = "docs/security.md";
const TESTS: &str = "tests/security";

struct Promise<'a> {
    line: usize,
    id: &'a str,
    /// The test's name.
    attack: Option<&'a str>,
}

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let suite: Vec<&str> = tree
        .iter()
        .filter(|(path, _)| path.contains(TESTS))
        .map(|(_, text)| text)
        .collect();
    if suite.is_empty() {
        return Vec::new();
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut findings = Vec::new();
    for promise in tree.text(PATH).into_iter().flat_map(promises) {
        let mut refuse =
            |advice: String| findings.push(Finding::new(PATH, promise.line, Rule::Promise, advice));
        if let Some(first) = seen.insert(promise.id, promise.line) {
            refuse(format!(
                "{} stands in line {first} too: give this one a number of its own",
                promise.id
            ));
        }
        match promise.attack {
            None => refuse(format!(
                "name the test that attacks {} in the last column",
                promise.id
            )),
            Some(test) if !suite.iter().any(|text| text.contains(&format!("fn {test}("))) => {
                refuse(format!(
                    "write the test {test} in {TESTS}: it attacks {}",
                    promise.id
                ));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Rows whose first cell is `P` and a number; the test is what the last cell quotes.
fn promises(text: &str) -> impl Iterator<Item = Promise<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let cells: Vec<&str> = line
            .trim()
            .strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .map(str::trim)
            .collect();
        let id = *cells.first()?;
        let number = id.strip_prefix('P')?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let attack = cells
            .last()
            .and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        Some(Promise {
            line: index + 1,
            id,
            attack,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str) -> usize {
        let tree = Tree::of(&[
            (PATH, page),
            (
                "crates/hostler/tests/security/mounts.rs",
                "fn mounts_are_refused() {}",
            ),
        ]);
        check(&tree).len()
    }

    #[test]
    fn each_promise_has_its_number_and_its_test() {
        assert_eq!(
            found("| id | promise | test |\n|---|---|---|\n| P01 | No mounts | `mounts_are_refused` |\n"),
            0
        );
        assert_eq!(found("| P01 | No mounts | `mounts_are_allowed` |\n"), 1);
        assert_eq!(
            found("| P01 | a | `mounts_are_refused` |\n| P01 | b | `mounts_are_refused` |\n"),
            1
        );
        assert_eq!(found("| Part | of | another table |\n"), 0);
    }

    #[test]
    fn a_promise_without_a_test_is_found() {
        assert_eq!(found("| P01 | No mounts | |\n"), 1);
    }
}
