//! `tests/skips.toml`: what may skip in CI. Each entry names a test that exists and the kernel's reason.

use super::tree::Tree;
use super::{Finding, Rule};
use serde::Deserialize;

const PATH: &str = "tests/skips.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    test: String,
    reason: String,
}

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(PATH) else {
        return Vec::new();
    };
    let list: List = match toml::from_str(text) {
        Ok(list) => list,
        Err(error) => {
            return vec![Finding::new(
                PATH,
                1,
                Rule::Skip,
                format!("make it parse: {}", error.message()),
            )];
        }
    };
    list.skip
        .iter()
        .filter_map(|skip| refuse(skip, text, tree))
        .collect()
}

fn refuse(skip: &Skip, text: &str, tree: &Tree) -> Option<Finding> {
    let line = text
        .lines()
        .position(|line| line.contains(&skip.test))
        .map_or(1, |index| index + 1);
    let function = format!("fn {}(", skip.test);
    let is_test = tree.iter().any(|(path, source)| {
        path.strip_prefix("tests/accept/") == Some(&skip.test) || source.contains(&function)
    });
    let advice = if !is_test {
        format!("there is no test {}: remove the entry", skip.test)
    } else if skip.reason.split_whitespace().count() < 3 {
        format!("say why the kernel does not let {} run", skip.test)
    } else {
        return None;
    };
    Some(Finding::new(PATH, line, Rule::Skip, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(skips: &str) -> usize {
        let tree = Tree::of(&[
            (PATH, skips),
            ("crates/one/tests/whole.rs", "fn swap_is_limited() {}"),
            ("tests/accept/run.sh", "exit 0"),
        ]);
        check(&tree).len()
    }

    #[test]
    fn an_entry_names_a_test_and_a_reason() {
        let entry = |test, reason| format!("[[skip]]\ntest = \"{test}\"\nreason = \"{reason}\"\n");
        assert_eq!(found(&entry("swap_is_limited", "this kernel has no swap")), 0);
        assert_eq!(found(&entry("run.sh", "this kernel has no swap")), 0);
        assert_eq!(found(&entry("swap_is_limited", "no swap")), 1);
        assert_eq!(found(&entry("swap_is_counted", "this kernel has no swap")), 1);
        assert_eq!(found("[[skip]]\nname = \"x\"\n"), 1);
    }
}
