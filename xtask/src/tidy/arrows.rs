//! The table "Crates and their arrows" of ARCHITECTURE.md against the manifests: a crate of ours may depend on another
//! only where the table says so. Development dependencies are free.

use super::tree::Tree;
use super::{Finding, Rule};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

const HEADING: &str = "## Crates and their arrows";
const PATH: &str = "ARCHITECTURE.md";

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    /// Nobody may depend on it but for development.
    dev_only: bool,
    /// Nothing: every crate.
    may_use: Option<BTreeSet<String>>,
}

/// A crate's manifest, as far as arrows go.
#[derive(Debug)]
pub(crate) struct Manifest {
    path: String,
    name: String,
    /// Dependencies of every kind but development, each with its line.
    uses: BTreeMap<String, usize>,
}

pub(crate) fn check(architecture: &str, manifests: &[Manifest]) -> Vec<Finding> {
    let rows = rows(architecture);
    let ours: BTreeSet<&str> = manifests.iter().map(|manifest| manifest.name.as_str()).collect();
    let mut findings = Vec::new();
    for (name, row) in &rows {
        if !ours.contains(name.as_str()) {
            let advice = format!("there is no crate `{name}`: remove its row");
            findings.push(Finding::new(PATH, row.line, Rule::Arrow, advice));
        }
    }
    for manifest in manifests {
        let Some(row) = rows.get(&manifest.name) else {
            let advice = format!(
                "add a row for `{}` to the table under \"{HEADING}\" in {PATH}",
                manifest.name
            );
            findings.push(Finding::new(&manifest.path, 1, Rule::Arrow, advice));
            continue;
        };
        for (used, line) in manifest
            .uses
            .iter()
            .filter(|(used, _)| ours.contains(used.as_str()))
        {
            let allowed = row.may_use.as_ref().is_none_or(|allowed| allowed.contains(used));
            if rows.get(used).is_some_and(|row| row.dev_only) {
                let advice = format!("`{used}` is for development: move it to [dev-dependencies]");
                findings.push(Finding::new(&manifest.path, *line, Rule::Arrow, advice));
            } else if !allowed {
                let advice = format!(
                    "{PATH} has no arrow from `{}` to `{used}`: turn it round or draw it",
                    manifest.name
                );
                findings.push(Finding::new(&manifest.path, *line, Rule::Arrow, advice));
            }
        }
    }
    findings
}

/// The manifests of the workspace's members.
pub(crate) fn manifests(tree: &Tree) -> Result<Vec<Manifest>> {
    let members = tree.iter().filter(|(path, _)| {
        path.strip_suffix("/Cargo.toml").is_some_and(|directory| {
            directory == "xtask" || (directory.starts_with("crates/") && directory.matches('/').count() == 1)
        })
    });
    members
        .map(|(path, text)| manifest(path, text).with_context(|| format!("{path} cannot be read")))
        .collect()
}

fn manifest(path: &str, text: &str) -> Result<Manifest> {
    let table: toml::Table = toml::from_str(text)?;
    let name = table
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str);
    let name = name.context("it names no package")?.to_owned();
    let mut uses = BTreeMap::new();
    for section in sections(&table) {
        for (key, value) in section {
            let package = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
            uses.insert(package.to_owned(), line_of(text, key));
        }
    }
    Ok(Manifest {
        path: path.to_owned(),
        name,
        uses,
    })
}

/// `[dependencies]` and `[build-dependencies]`, also those of one target only.
fn sections(table: &toml::Table) -> Vec<&toml::Table> {
    let targets = table
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(toml::Table::values);
    std::iter::once(table)
        .chain(targets.filter_map(toml::Value::as_table))
        .flat_map(|table| ["dependencies", "build-dependencies"].map(|key| table.get(key)))
        .flatten()
        .filter_map(toml::Value::as_table)
        .collect()
}

/// The first line, outside the development dependencies, that sets this key.
fn line_of(text: &str, key: &str) -> usize {
    let mut counts = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            counts = line.contains("dependencies") && !line.contains("dev-dependencies");
        }
        let sets = line
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with([' ', '.', '=']));
        if counts && (sets || line.contains(&format!("dependencies.{key}]"))) {
            return index + 1;
        }
    }
    1
}

/// The rows of the table below the heading, by crate.
fn rows(architecture: &str) -> BTreeMap<String, Row> {
    let lines = architecture
        .lines()
        .enumerate()
        .skip_while(|(_, line)| line.trim() != HEADING)
        .skip(1);
    lines
        .take_while(|(_, line)| !line.starts_with("## "))
        .filter_map(|(index, line)| row(index + 1, line))
        .collect()
}

/// `| `name` | what it is | `used`, `used` |`, with `all` for every crate.
fn row(number: usize, line: &str) -> Option<(String, Row)> {
    let cells: Vec<&str> = line
        .trim()
        .strip_prefix('|')?
        .strip_suffix('|')?
        .split('|')
        .map(str::trim)
        .collect();
    let [name, what, uses] = cells[..] else {
        return None;
    };
    let name = quoted(name).next()?;
    let may_use = (uses != "all").then(|| quoted(uses).collect());
    Some((
        name,
        Row {
            line: number,
            dev_only: what.contains("dev only"),
            may_use,
        },
    ))
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TABLE: &str = "# A\n\n## Crates and their arrows\n\n| crate | what it is | may use |\n|---|---|---|\n\
        | `low` | words | – |\n| `high` | work | `low` |\n| `kit` | tests (dev only) | all |\n| `top` | binary | all |\n\n\
        ## Next\n\n| `other` | x | y |\n";

    fn crates(list: &[(&str, &str)]) -> Vec<Manifest> {
        list.iter()
            .map(|(name, rest)| {
                manifest(
                    &format!("crates/{name}/Cargo.toml"),
                    &format!("[package]\nname = \"{name}\"\n{rest}"),
                )
                .unwrap()
            })
            .collect()
    }

    fn found(list: &[(&str, &str)]) -> Vec<String> {
        let defaults = [("low", ""), ("high", ""), ("kit", ""), ("top", "")];
        let mut all: BTreeMap<&str, &str> = defaults.into_iter().collect();
        all.extend(list.iter().copied());
        let all: Vec<(&str, &str)> = all.into_iter().collect();
        check(TABLE, &crates(&all))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn arrows_of_the_table_pass() {
        let dependencies =
            "[dependencies]\nlow.workspace = true\nserde = \"1\"\n[dev-dependencies]\nkit.workspace = true\n";
        assert_eq!(
            found(&[
                ("high", dependencies),
                ("top", "[dependencies]\nhigh = { path = \"..\" }\n")
            ]),
            [""; 0]
        );
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found_with_its_line() {
        let lines = found(&[("low", "[dependencies]\nhigh.workspace = true\n")]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("crates/low/Cargo.toml:4: arrow:"),
            "{lines:?}"
        );
    }

    #[test]
    fn renamed_target_and_build_dependencies_count() {
        for text in [
            "[dependencies]\nalias = { package = \"high\", path = \"..\" }\n",
            "[target.'cfg(unix)'.dependencies]\nhigh.workspace = true\n",
            "[build-dependencies]\nhigh.workspace = true\n",
        ] {
            assert_eq!(found(&[("low", text)]).len(), 1, "{text}");
        }
    }

    #[test]
    fn what_is_for_development_is_for_no_one_else() {
        let lines = found(&[("top", "[dependencies]\nkit.workspace = true\n")]);
        assert!(
            lines.len() == 1 && lines[0].contains("dev-dependencies"),
            "{lines:?}"
        );
    }

    #[test]
    fn rows_and_crates_match_one_to_one() {
        assert!(found(&[("extra", "")])[0].contains("add a row for `extra`"));
        let lines: Vec<String> = check(TABLE, &crates(&[("low", ""), ("kit", ""), ("top", "")]))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            lines.len() == 1 && lines[0].contains("no crate `high`"),
            "{lines:?}"
        );
    }
}
