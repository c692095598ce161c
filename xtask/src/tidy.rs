//! `cargo xtask tidy`: holds the tree against the rules that STYLE and ARCHITECTURE.md state and a program can check.
//!
//! Every rule is checked on every file; what is let pass stands, with a reason, in `xtask/tidy.toml` and nowhere else.
//! The walk honours `.gitignore`, so that a file is checked before it is committed.

mod arrows;
mod exceptions;
mod finding;
mod promises;
mod purity;
mod registries;
mod rust_file;
mod sizes;
mod skips;
mod tree;
mod visitor;

use anyhow::{Context, Result};
use exceptions::Exceptions;
use finding::{Finding, Rule};
use std::path::Path;
use tree::Tree;

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const EXCEPTIONS: &str = "xtask/tidy.toml";

pub(crate) struct Outcome {
    pub(crate) files: usize,
    pub(crate) findings: Vec<Finding>,
}

/// Checks everything below `root`.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let tree = Tree::read(root)?;
    let architecture = tree.text(ARCHITECTURE).context("ARCHITECTURE.md is missing")?;
    let exceptions = Exceptions::parse(tree.text(EXCEPTIONS).unwrap_or_default())?;

    let mut findings = Vec::new();
    let files = rust_file::parse_all(&tree, &mut findings);
    findings.extend(sizes::check(&files));
    findings.extend(purity::check(&files));
    findings.extend(arrows::check(architecture, &arrows::manifests(&tree)?));
    findings.extend(registries::check(&tree));
    findings.extend(skips::check(&tree));
    findings.extend(promises::check(&tree));
    findings.extend(sizes::check_architecture(ARCHITECTURE, architecture));

    let mut findings = exceptions.apply(EXCEPTIONS, findings);
    findings.sort();
    Ok(Outcome {
        files: tree.len(),
        findings,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TABLE: &str =
        "## Crates and their arrows\n\n| crate | what | may use |\n|---|---|---|\n| `one` | x | – |\n";

    fn workspace(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let defaults = [
            ("ARCHITECTURE.md", TABLE),
            ("crates/one/Cargo.toml", "[package]\nname = \"one\"\n"),
            (".gitignore", "/target\n"),
        ];
        for (path, text) in defaults.iter().chain(files) {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let directory = workspace(files);
        check(directory.path())
            .unwrap()
            .findings
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_tidy_workspace_has_no_findings() {
        assert_eq!(
            found(&[("crates/one/src/lib.rs", "//! One.\n\npub fn one() {}\n")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_git_ignores_is_not_checked() {
        let ignored = ("target/x.rs", "fn main() {}\n");
        assert_eq!(
            found(&[("crates/one/src/lib.rs", "//! One.\n"), ignored]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn findings_name_place_and_rule_in_order() {
        let lines = found(&[
            ("crates/one/src/lib.rs", "pub mod utils;\n"),
            ("crates/one/src/utils.rs", "//! U.\n"),
            ("crates/one/src/broken.rs", "//! B.\nfn {\n"),
        ]);
        let places: Vec<&str> = lines
            .iter()
            .map(|line| line.split(':').nth(2).unwrap().trim())
            .collect();
        assert_eq!(places, ["syntax", "head", "vague-name"], "{lines:#?}");
    }

    #[test]
    fn a_test_module_in_its_own_file_counts_as_tests() {
        let long = format!("//! Tests.\n{}", "fn x() {}\n".repeat(600));
        let lib = "//! One.\n\npub mod part;\n";
        let part = "//! Part.\n\n#[cfg(test)]\nmod tests;\n";
        let files = [
            ("crates/one/src/lib.rs", lib),
            ("crates/one/src/part.rs", part),
            ("crates/one/src/part/tests.rs", long.as_str()),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
        let compiled = part.replace("#[cfg(test)]\n", "");
        let files = [files[0], ("crates/one/src/part.rs", compiled.as_str()), files[2]];
        assert!(found(&files).iter().any(|line| line.contains("file-length")));
    }

    #[test]
    fn this_repository_lists_each_exception_with_a_reason() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join(EXCEPTIONS)).unwrap();
        Exceptions::parse(&text).unwrap();
    }
}
