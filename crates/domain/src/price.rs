//! List prices of models, as data with the date they were read on.
//!
//! The table is `prices.json` beside this file. An unknown model has no price: its tokens are counted, its cost is
//! reported as unknown, and a budget in money refuses it rather than guess.

use crate::{Cost, Usage};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static BUILT_IN: LazyLock<PriceTable> =
    LazyLock::new(|| PriceTable::parse(include_str!("prices.json")).unwrap_or_default());

/// Prices in US dollars per million tokens, and what the model can take.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write_5m: f64,
    pub cache_write_1h: f64,
    /// Tokens of input and output together.
    pub context_window: u64,
    pub max_output_tokens: u64,
}

impl Model {
    pub fn cost(&self, usage: &Usage) -> Cost {
        let nano = |tokens: u64, per_million: f64| (tokens as f64 * per_million * 1e3).round() as u64;
        Cost::from_nano_usd(
            nano(usage.input_tokens, self.input)
                + nano(usage.output_tokens, self.output)
                + nano(usage.cache_read_input_tokens, self.cache_read)
                + nano(usage.cache_creation_5m_input_tokens, self.cache_write_5m)
                + nano(usage.cache_creation_1h_input_tokens, self.cache_write_1h)
                + usage.web_search_requests * 10_000_000,
        )
    }
}

/// Models by the prefix of their id; the longest prefix wins, so dated ids find their family.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    /// The day the prices were read, `YYYY-MM-DD`.
    pub date: String,
    pub models: BTreeMap<String, Model>,
}

impl PriceTable {
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The table this binary was built with.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    pub fn model(&self, id: &str) -> Option<&Model> {
        self.models
            .iter()
            .filter(|(prefix, _)| id.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, model)| model)
    }

    pub fn cost(&self, model: &str, usage: &Usage) -> Option<Cost> {
        self.model(model).map(|model| model.cost(usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_parses_and_is_dated() {
        let table = PriceTable::parse(include_str!("prices.json")).unwrap();
        assert_eq!(table.date.len(), 10);
        assert!(!table.models.is_empty());
    }

    #[test]
    fn a_dated_id_has_its_family_s_price_and_an_unknown_one_has_none() {
        let table = PriceTable::built_in();
        assert!(table.model("claude-sonnet-4-5-20250929").is_some());
        assert!(table.model("gpt-9").is_none());
    }

    #[test]
    fn a_million_of_each_costs_the_sum_of_the_prices() {
        let model = PriceTable::built_in().model("claude-sonnet-4-5").unwrap();
        let million = 1_000_000;
        let usage = Usage { input_tokens: million, output_tokens: million, ..Usage::default() };
        assert_eq!(model.cost(&usage), Cost::from_usd(model.input + model.output));
    }
}
