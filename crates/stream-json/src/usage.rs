//! Token counts as the Messages API and the result frame spell them. A null count reads as zero.

use crate::Extra;
use serde::{Deserialize, Deserializer, Serialize};

pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    #[serde(deserialize_with = "null_as_default")]
    pub input_tokens: u64,
    #[serde(deserialize_with = "null_as_default")]
    pub cache_creation_input_tokens: u64,
    #[serde(deserialize_with = "null_as_default")]
    pub cache_read_input_tokens: u64,
    #[serde(deserialize_with = "null_as_default")]
    pub output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_creation: Option<CacheCreation>,
    #[serde(flatten)]
    pub extra: Extra,
}

/// Cache writes by lifetime; together they are `cache_creation_input_tokens`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheCreation {
    #[serde(deserialize_with = "null_as_default")]
    pub ephemeral_5m_input_tokens: u64,
    #[serde(deserialize_with = "null_as_default")]
    pub ephemeral_1h_input_tokens: u64,
}
