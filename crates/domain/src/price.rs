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
    /// Prices of a whole call whose prompt is long.
    #[serde(default)]
    pub long_prompt: Option<LongPrompt>,
    /// Tokens of input and output together.
    pub context_window: u64,
    pub max_output_tokens: u64,
}

/// What a call costs once its prompt, cached tokens included, is above a length.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrompt {
    pub above_tokens: u64,
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write_5m: f64,
    pub cache_write_1h: f64,
}

impl Model {
    /// The cost of one call: prices may depend on its length, so usage is priced before it is added up.
    pub fn cost(&self, usage: &Usage) -> Cost {
        let written = usage.cache_creation_5m_input_tokens + usage.cache_creation_1h_input_tokens;
        let prompt = usage.input_tokens + usage.cache_read_input_tokens + written;
        let [input, output, cache_read, five_minutes, one_hour] = self.prices(prompt);
        let nano = |tokens: u64, per_million: f64| (tokens as f64 * per_million * 1e3).round() as u64;
        Cost::from_nano_usd(
            nano(usage.input_tokens, input)
                + nano(usage.output_tokens, output)
                + nano(usage.cache_read_input_tokens, cache_read)
                + nano(usage.cache_creation_5m_input_tokens, five_minutes)
                + nano(usage.cache_creation_1h_input_tokens, one_hour)
                + usage.web_search_requests * 10_000_000,
        )
    }

    fn prices(&self, prompt_tokens: u64) -> [f64; 5] {
        match &self.long_prompt {
            Some(long) if prompt_tokens > long.above_tokens => [
                long.input,
                long.output,
                long.cache_read,
                long.cache_write_5m,
                long.cache_write_1h,
            ],
            _ => [
                self.input,
                self.output,
                self.cache_read,
                self.cache_write_5m,
                self.cache_write_1h,
            ],
        }
    }
}

/// Models by id. A dated id, `-latest` and a variant in brackets have the price of the id they extend; a version that
/// is not in the table has none.
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
        let bare = id.split_once(['[', '@']).map_or(id, |(bare, _)| bare);
        let is_snapshot =
            |text: &str| text == "latest" || (text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()));
        let family = match bare.rsplit_once('-') {
            Some((family, snapshot)) if is_snapshot(snapshot) => family,
            _ => bare,
        };
        self.models.get(bare).or_else(|| self.models.get(family))
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
        assert!(table.model("claude-opus-5-5[1m]").is_some());
        for unknown in [
            "gpt-9",
            "claude-opus-5-9",
            "claude-opus-55",
            "claude-opus-5-5-2026",
            "",
        ] {
            assert!(table.model(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_million_of_each_costs_the_sum_of_the_prices() {
        let model = PriceTable::built_in().model("claude-sonnet-4-5").unwrap();
        let million = 1_000_000;
        let usage = Usage {
            input_tokens: million,
            output_tokens: million,
            ..Usage::default()
        };
        assert_eq!(model.cost(&usage), Cost::from_usd(model.input + model.output));
    }

    #[test]
    fn a_long_prompt_is_priced_as_one_on_every_token() {
        let model = PriceTable::built_in().model("claude-haiku-5-5").unwrap();
        let call = |cached: u64| Usage {
            input_tokens: 1,
            cache_read_input_tokens: cached,
            output_tokens: 1_000_000,
            ..Usage::default()
        };
        assert_eq!(model.cost(&call(99_999)).nano_usd, 500_000_000 + 999_990 + 100);
        assert_eq!(
            model.cost(&call(100_000)).nano_usd,
            2_500_000_000 + 5_000_000 + 500
        );
    }
}
