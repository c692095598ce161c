//! Models that an agent may have, as `/v1/models` lists them: by id and not in pages with cursors.

use crate::Input;
use crate::schema::{
    Schema, any, boolean, choice, constant, integer, list, object, optional, required, text, timestamp,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub const DEFAULT_LIMIT: usize = 20;
pub const MAX_LIMIT: usize = 1000;
const ID_CHARACTERS: usize = 256;

/// What is known of a model without asking whoever runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "model")]
pub struct Model {
    pub id: String,
    pub display_name: String,
    /// The epoch where it is not known.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    pub lifecycle: Lifecycle,
    pub max_input_tokens: u64,
    pub max_tokens: u64,
    pub capabilities: Option<()>,
    pub line: Option<()>,
    pub deprecated_at: Option<()>,
    pub retires_at: Option<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    Active,
    Deprecated,
    Retired,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    pub data: Vec<Model>,
    pub has_more: bool,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct List {
    #[serde(default)]
    pub limit: Option<usize>,
    #[serde(default)]
    pub after_id: Option<String>,
    #[serde(default)]
    pub before_id: Option<String>,
    #[serde(default, rename = "lifecycle[]")]
    pub lifecycle: Option<Vec<Lifecycle>>,
}

impl Input for List {
    fn schema() -> Schema {
        let stages = choice(["active", "deprecated", "retired"]);
        object([
            optional("limit", integer(1..=MAX_LIMIT as i64)),
            optional("after_id", text(1..=ID_CHARACTERS)),
            optional("before_id", text(1..=ID_CHARACTERS)),
            optional("lifecycle[]", list(stages, 3)),
        ])
    }
}

impl List {
    /// The part of all models that is asked for. An id that is not among them begins at the beginning, or the end.
    pub fn cut(&self, all: Vec<Model>) -> Models {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        let wanted = |model: &Model| match &self.lifecycle {
            None => model.lifecycle != Lifecycle::Retired,
            Some(stages) => stages.contains(&model.lifecycle),
        };
        let all: Vec<Model> = all.into_iter().filter(wanted).collect();
        let place = |id: &Option<String>| {
            let id = id.as_ref()?;
            all.iter().position(|model| model.id == *id)
        };
        let from = place(&self.after_id).map_or(0, |index| index + 1);
        let to = place(&self.before_id).unwrap_or(all.len());
        let found = all.get(from..to).unwrap_or_default();
        let has_more = found.len() > limit;
        // Before an id: the ones that are nearest to it.
        let data = if self.before_id.is_some() {
            found[found.len().saturating_sub(limit)..].to_vec()
        } else {
            found[..found.len().min(limit)].to_vec()
        };
        Models {
            has_more,
            first_id: data.first().map(|model| model.id.clone()),
            last_id: data.last().map(|model| model.id.clone()),
            data,
        }
    }
}

/// Whoever runs the model may say more of it.
pub fn schema() -> Schema {
    object([
        constant("type", "model"),
        required("id", text(1..=ID_CHARACTERS)),
        optional("display_name", text(0..=1000)),
        optional("created_at", timestamp()),
        optional("max_input_tokens", any()),
        optional("max_tokens", any()),
    ])
    .open()
    .named("Model")
}

pub fn list_schema() -> Schema {
    object([
        required("data", list(schema(), MAX_LIMIT)),
        required("has_more", boolean()),
        required("first_id", text(1..=ID_CHARACTERS).nullable()),
        required("last_id", text(1..=ID_CHARACTERS).nullable()),
    ])
    .open()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &List) -> (Vec<String>, bool) {
        let all = ["a", "b", "c", "d", "r"].map(|id| Model {
            id: id.to_owned(),
            display_name: id.to_owned(),
            created_at: OffsetDateTime::UNIX_EPOCH,
            lifecycle: if id == "r" {
                Lifecycle::Retired
            } else {
                Lifecycle::Active
            },
            max_input_tokens: 1,
            max_tokens: 1,
            capabilities: None,
            line: None,
            deprecated_at: None,
            retires_at: None,
        });
        let cut = list.cut(all.to_vec());
        (cut.data.into_iter().map(|model| model.id).collect(), cut.has_more)
    }

    #[test]
    fn models_are_listed_by_their_neighbours() {
        let list = |after: &str, before: &str, limit| List {
            limit: Some(limit),
            after_id: (!after.is_empty()).then(|| after.to_owned()),
            before_id: (!before.is_empty()).then(|| before.to_owned()),
            lifecycle: None,
        };
        let table = [
            (list("", "", 9), "abcd", false),
            (list("", "", 2), "ab", true),
            (list("b", "", 2), "cd", false),
            (list("", "d", 2), "bc", true),
            (list("d", "", 2), "", false),
            (list("c", "b", 2), "", false),
            (list("unknown", "", 1), "a", true),
        ];
        for (list, expected, more) in table {
            let (found, has_more) = ids(&list);
            assert_eq!((found.concat().as_str(), has_more), (expected, more), "{list:?}");
        }
        let retired = List {
            lifecycle: Some(vec![Lifecycle::Retired]),
            ..List::default()
        };
        assert_eq!(ids(&retired), (vec!["r".to_owned()], false));
    }
}
