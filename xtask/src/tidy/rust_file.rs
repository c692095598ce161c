//! Rust sources, parsed, and sorted into code and tests.

use super::tree::Tree;
use super::visitor::{self, Facts};
use super::{Finding, Rule};
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct RustFile {
    pub(crate) path: String,
    /// The directory of its crate: `crates/domain`, `xtask`; `tests` for the workspace's own tests.
    pub(crate) crate_directory: String,
    /// Integration tests, benches, examples, and modules that only tests compile.
    pub(crate) is_test: bool,
    /// Whether the first line is a `//!` comment.
    pub(crate) has_head: bool,
    pub(crate) facts: Facts,
}

impl RustFile {
    fn parse(path: &str, text: &str) -> Result<Self, Finding> {
        let syntax = syn::parse_file(text).map_err(|error| {
            Finding::new(
                path,
                error.span().start().line,
                Rule::Syntax,
                format!("make it parse: {error}"),
            )
        })?;
        let crate_directory = crate_directory(path).to_owned();
        let below = path
            .strip_prefix(&crate_directory)
            .unwrap_or(path)
            .trim_start_matches('/');
        let is_test = crate_directory == "tests"
            || ["tests/", "benches/", "examples/"]
                .iter()
                .any(|directory| below.starts_with(directory));
        Ok(Self {
            path: path.to_owned(),
            crate_directory,
            is_test,
            has_head: text.lines().next().is_some_and(|line| line.starts_with("//!")),
            facts: visitor::facts(&syntax, text),
        })
    }

    /// The name without directory and `.rs`.
    pub(crate) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.strip_suffix(".rs").unwrap_or(name)
    }

    /// Where the modules that this file declares lie: `src/` for `src/lib.rs`, `src/part/` for `src/part.rs`.
    fn module_directory(&self) -> String {
        let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        match self.stem() {
            "lib" | "main" | "mod" => format!("{directory}/"),
            stem => format!("{directory}/{stem}/"),
        }
    }
}

/// Every Rust file of the tree; a file that does not parse is a finding.
pub(crate) fn parse_all(tree: &Tree, findings: &mut Vec<Finding>) -> Vec<RustFile> {
    let mut files = Vec::new();
    let sources = tree.iter().filter(|(path, _)| {
        path.rsplit_once('.').is_some_and(|(_, end)| end == "rs")
            && ["crates/", "xtask/", "tests/"]
                .iter()
                .any(|start| path.starts_with(start))
    });
    for (path, text) in sources {
        match RustFile::parse(path, text) {
            Ok(file) => files.push(file),
            Err(finding) => findings.push(finding),
        }
    }
    mark_test_modules(&mut files);
    files
}

/// `#[cfg(test)] mod tests;` makes a test of `tests.rs` and of all that lies below `tests/`.
fn mark_test_modules(files: &mut [RustFile]) {
    let mut roots = BTreeSet::new();
    for file in files.iter() {
        let directory = file.module_directory();
        roots.extend(
            file.facts
                .test_modules
                .iter()
                .map(|name| format!("{directory}{name}")),
        );
    }
    for file in files {
        let path = file.path.trim_end_matches(".rs");
        let below = |root: &String| {
            path == root
                || path
                    .strip_prefix(root.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        file.is_test |= roots.iter().any(below);
    }
}

fn crate_directory(path: &str) -> &str {
    let mut ends = path.match_indices('/').map(|(index, _)| index);
    let end = if path.starts_with("crates/") {
        ends.nth(1)
    } else {
        ends.next()
    };
    end.map_or(path, |end| &path[..end])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_where_they_lie() {
        let table = [
            (
                "crates/one/src/part.rs",
                "crates/one",
                false,
                "crates/one/src/part/",
            ),
            ("crates/one/src/lib.rs", "crates/one", false, "crates/one/src/"),
            (
                "crates/one/src/tests/deep.rs",
                "crates/one",
                false,
                "crates/one/src/tests/deep/",
            ),
            (
                "crates/one/tests/whole.rs",
                "crates/one",
                true,
                "crates/one/tests/whole/",
            ),
            ("xtask/src/main.rs", "xtask", false, "xtask/src/"),
            ("tests/security/main.rs", "tests", true, "tests/security/"),
        ];
        for (path, directory, is_test, modules) in table {
            let file = RustFile::parse(path, "//! Head.\n").unwrap();
            assert_eq!(
                (file.crate_directory.as_str(), file.is_test),
                (directory, is_test),
                "{path}"
            );
            assert_eq!(file.module_directory(), modules, "{path}");
        }
    }

    #[test]
    fn a_head_is_the_first_line_or_none() {
        for (text, has_head) in [
            ("//! Head.\n", true),
            ("// Head.\n", false),
            ("\n//! Late.\n", false),
            ("", false),
        ] {
            assert_eq!(
                RustFile::parse("xtask/src/a.rs", text).unwrap().has_head,
                has_head,
                "{text:?}"
            );
        }
    }
}
