//! Objects told apart by their `type`, where the list of types may grow at the other end.
//!
//! serde's own fallbacks would either lose the fields of an unknown object or take a malformed known one for unknown;
//! [`open_enum`] looks at the `type` first.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// An object whose `type` is not known here, kept as it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Unknown(Map<String, Value>);

impl Unknown {
    /// Its `type`; empty if it has none.
    pub fn kind(&self) -> &str {
        self.0.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// The object and its `type`, which must be a string.
pub(crate) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Unknown, D::Error> {
    let map = Map::deserialize(deserializer)?;
    match map.get("type") {
        Some(Value::String(_)) => Ok(Unknown(map)),
        Some(_) => Err(serde::de::Error::custom("`type` must be a string")),
        None => Err(serde::de::Error::missing_field("type")),
    }
}

impl From<Unknown> for Value {
    fn from(unknown: Unknown) -> Self {
        Self::Object(unknown.0)
    }
}

/// `Serialize` and `Deserialize` for an enum derived with `#[serde(remote = "Self", tag = "type")]` that has a skipped
/// variant `Unknown(Unknown)`.
macro_rules! open_enum {
    ($name:ident: $($kind:literal),+ $(,)?) => {
        impl $name {
            /// Every `type` that is known here.
            pub const TYPES: &'static [&'static str] = &[$($kind),+];
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let object = $crate::open::object(deserializer)?;
                if Self::TYPES.contains(&object.kind()) {
                    $name::deserialize(serde_json::Value::from(object)).map_err(serde::de::Error::custom)
                } else {
                    Ok(Self::Unknown(object))
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    Self::Unknown(object) => object.serialize(serializer),
                    known => $name::serialize(known, serializer),
                }
            }
        }
    };
}
pub(crate) use open_enum;
