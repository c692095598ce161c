//! A client's own words on a resource: at most 16 pairs, keys of 64 and values of 512 characters.

use crate::Invalid;
use crate::schema::{Schema, map, text};
use std::collections::BTreeMap;

pub type Metadata = BTreeMap<String, String>;
/// `null` and the empty text delete a key.
pub type MetadataPatch = BTreeMap<String, Option<String>>;

const PAIRS: usize = 16;
const KEY: usize = 64;
const VALUE: usize = 512;
const CODE: &str = "invalid_metadata";
/// Keys of a patch: all that there may be deleted, and as many set.
const PATCHED: usize = 2 * PAIRS;

pub fn schema() -> Schema {
    map(text(0..=VALUE), PAIRS, KEY).code(CODE)
}

pub fn patch_schema() -> Schema {
    map(text(0..=VALUE).nullable(), PATCHED, KEY)
        .code(CODE)
        .about("A patch: null or the empty text deletes a key.")
}

pub fn apply(patch: MetadataPatch, metadata: &mut Metadata) -> Result<(), Invalid> {
    for (key, value) in patch {
        match value {
            Some(value) if !value.is_empty() => metadata.insert(key, value),
            _ => metadata.remove(&key),
        };
    }
    match metadata.len() {
        count if count > PAIRS => {
            let problem = format!("must have at most {PAIRS} keys, and would have {count}");
            Err(Invalid::new("metadata", problem).with_code(CODE))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> Metadata {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn a_patch_sets_and_deletes_and_leaves_the_rest() {
        let mut stored = metadata(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        let patch = [("a", Some("9")), ("b", None), ("c", Some("")), ("e", Some("5"))];
        let patch = patch.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        apply(patch.into(), &mut stored).unwrap();
        assert_eq!(stored, metadata(&[("a", "9"), ("d", "4"), ("e", "5")]));
    }

    #[test]
    fn what_is_stored_stays_within_the_limit() {
        let mut stored: Metadata = (0..16).map(|n| (n.to_string(), "x".to_owned())).collect();
        let one_more = [("more".to_owned(), Some("x".to_owned()))];
        let invalid = apply(one_more.clone().into(), &mut stored.clone()).unwrap_err();
        assert_eq!(invalid.code, Some("invalid_metadata"));
        let [more] = one_more;
        assert!(apply([more, ("0".to_owned(), None)].into(), &mut stored).is_ok());
    }
}
