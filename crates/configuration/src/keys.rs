//! Which keys there are, and which one was meant.

use crate::config::{Config, REFERENCE};
use crate::document::Entry;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use toml::Value;

/// By the types: every key with its default, or an example where it has none.
pub static KNOWN: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| values_of(&Config::complete()));

/// Every key that has a value, like `limits.ping`.
pub fn values_of(config: &Config) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    // Every type here can be written.
    if let Ok(Value::Table(table)) = Value::try_from(config) {
        for (key, value) in table {
            match value {
                Value::Table(inner) => {
                    found.extend(
                        inner
                            .into_iter()
                            .map(|(name, value)| (format!("{key}.{name}"), value)),
                    );
                }
                value => drop(found.insert(key, value)),
            }
        }
    }
    found
}

/// Every key, in the order of the reference.
pub fn in_order() -> impl Iterator<Item = (Option<&'static str>, &'static str)> {
    let mut table = None;
    REFERENCE.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = Some(name);
        }
        let (name, _) = line.strip_prefix('#')?.split_once(" = ")?;
        let is_key = name.starts_with(|first: char| first.is_ascii_lowercase());
        is_key.then_some((table, name))
    })
}

/// What is wrong with a key of a file, whatever its value.
pub fn problem(entry: &Entry) -> Option<String> {
    let Entry { key, is_table, .. } = entry;
    let is_table_here = || {
        KNOWN
            .keys()
            .any(|known| known.split_once('.').is_some_and(|(table, _)| table == key))
    };
    // What is below a value is said when that value is read.
    let mut above = key.match_indices('.').map(|(end, _)| &key[..end]);
    if KNOWN.contains_key(key) || above.any(|above| KNOWN.contains_key(above)) {
        return None;
    }
    match (is_table_here(), *is_table) {
        (true, true) => None,
        (true, false) => Some(format!("`{key}` is a table: begin it with a line [{key}]")),
        (false, _) => Some(unknown(key)),
    }
}

fn unknown(key: &str) -> String {
    let last = last_of(key);
    if matches!(last, "api_key" | "admin_key") {
        let table = if last == "api_key" { "upstream." } else { "" };
        return format!(
            "`{key}`: a key does not belong in this file: write it to a file of its own, which only the server's user \
             can read, and name that one as `{table}{last}_file`"
        );
    }
    match meant(key) {
        Some(meant) if !meant.contains('.') && KNOWN.contains_key(meant) && key.contains('.') => {
            format!("there is no key `{key}`: `{meant}` stands before the first table")
        }
        Some(meant) => format!("there is no key `{key}`: did you mean `{meant}`?"),
        None => {
            let names: Vec<_> = siblings(key).collect();
            format!("there is no key `{key}`: there are {}", names.join(", "))
        }
    }
}

/// The one that is nearest by letters that are wrong, missing or too many; of two, the one in the same table.
fn meant(key: &str) -> Option<&'static str> {
    let table = |key: &str| key.rsplit_once('.').map(|(table, _)| table.to_owned());
    let last = last_of(key);
    let most_wrong = last.chars().count() / 4 + 1;
    let tables = KNOWN.keys().filter_map(|known| Some(known.split_once('.')?.0));
    KNOWN
        .keys()
        .map(String::as_str)
        .chain(tables)
        .map(|known| (strsim::damerau_levenshtein(last_of(known), last), known))
        .filter(|(wrong, known)| *wrong <= most_wrong && *wrong < last_of(known).chars().count())
        .min_by_key(|(wrong, known)| (*wrong, table(known) != table(key)))
        .map(|(_, known)| known)
}

/// What stands where this one does.
fn siblings(key: &str) -> impl Iterator<Item = String> {
    let above = key.rsplit_once('.').map(|(above, _)| format!("{above}."));
    let inside = above.filter(|above| KNOWN.keys().any(|known| known.starts_with(above.as_str())));
    let mut names: Vec<String> = KNOWN
        .keys()
        .filter_map(|known| match &inside {
            Some(above) => known.strip_prefix(above.as_str()),
            None => known.split('.').next(),
        })
        .map(|name| format!("`{name}`"))
        .collect();
    names.dedup();
    names.into_iter()
}

fn last_of(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}
