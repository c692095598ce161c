//! Tokens and money, as the API writes them.

use domain::{Cost, Usage};
use serde::{Deserialize, Serialize};

/// What a session has used so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionUsage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation: Option<CacheCreation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_seconds: Option<f64>,
    /// Missing where a model without a list price was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_cost: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_tool_use: Option<ServerToolUse>,
}

impl SessionUsage {
    pub fn new(usage: &Usage, list_cost: Option<Cost>, active_seconds: f64) -> Self {
        Self {
            input_tokens: Some(usage.input_tokens),
            output_tokens: Some(usage.output_tokens),
            cache_read_input_tokens: Some(usage.cache_read_input_tokens),
            cache_creation: Some(CacheCreation {
                ephemeral_5m_input_tokens: Some(usage.cache_creation_5m_input_tokens),
                ephemeral_1h_input_tokens: Some(usage.cache_creation_1h_input_tokens),
            }),
            active_seconds: Some(active_seconds),
            list_cost: list_cost.map(Money::from),
            server_tool_use: (usage.web_search_requests > 0).then_some(ServerToolUse {
                web_search_requests: Some(usage.web_search_requests),
            }),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCreation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_5m_input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerToolUse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_search_requests: Option<u64>,
}

/// An amount in minor units (US cents), as a string of digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    pub amount: String,
    pub currency: String,
}

impl From<Cost> for Money {
    /// To the nearest cent; the exact cost is in the ledger.
    fn from(cost: Cost) -> Self {
        let cent = Cost::CENT.nano_usd;
        let cents = cost.nano_usd.saturating_add(cent / 2) / cent;
        Self {
            amount: cents.to_string(),
            currency: "USD".to_owned(),
        }
    }
}

/// What a session may cost at most, by list price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "limit")]
pub struct Budget {
    pub max_list_cost: Money,
}

/// Tokens of one model request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsage {
    #[serde(default)]
    pub input_tokens: u64,
    #[serde(default)]
    pub output_tokens: u64,
    #[serde(default)]
    pub cache_read_input_tokens: u64,
    #[serde(default)]
    pub cache_creation_input_tokens: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_written_in_whole_cents() {
        for (usd, cents) in [
            (0.0, "0"),
            (0.004, "0"),
            (0.006, "1"),
            (25.0, "2500"),
            (f64::MAX, "100000000000"),
        ] {
            assert_eq!(Money::from(Cost::from_usd(usd)).amount, cents, "{usd}");
        }
    }
}
