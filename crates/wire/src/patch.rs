//! How an update tells a field that is not there from one that is `null`.

use serde::{Deserialize, Deserializer};

/// A field of an update; needs `#[serde(default)]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field is not there.
    #[default]
    Keep,
    /// The field is `null`.
    Clear,
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

impl<T> Patch<T> {
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }

    /// The same where `null` means a default.
    pub fn apply_or(self, field: &mut T, default: T) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = default,
            Self::Set(value) => *field = value,
        }
    }

    /// For a field that cannot be cleared: `null` says nothing.
    pub fn into_set(self) -> Option<T> {
        match self {
            Self::Keep | Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Update {
        #[serde(default)]
        title: Patch<String>,
    }

    #[test]
    fn absent_null_and_a_value_are_three_things() {
        for (json, expected) in [
            ("{}", Some("old")),
            (r#"{"title": null}"#, None),
            (r#"{"title": "new"}"#, Some("new")),
        ] {
            let mut title = Some("old".to_owned());
            let update: Update = serde_json::from_str(json).unwrap();
            update.title.apply(&mut title);
            assert_eq!(title.as_deref(), expected, "{json}");
        }
    }
}
