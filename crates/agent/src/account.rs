//! What the session used and what it costs at list prices: per turn, and over the session by model.

use domain::{Cost, PriceTable};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use stream_json::{Extra, ModelUsage, Usage};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    #[serde(rename = "totalCostUSD")]
    pub(crate) total_cost_usd: f64,
    #[serde(rename = "modelUsage")]
    pub(crate) by_model: BTreeMap<String, ModelUsage>,
    #[serde(rename = "hasUnknownModelCost")]
    pub(crate) has_unknown_cost: bool,
    #[serde(skip)]
    cost: Cost,
    /// Of the turn that runs.
    #[serde(skip)]
    pub(crate) turn: Usage,
    #[serde(skip)]
    pub(crate) api_time: Duration,
    /// Input and output of the last call of the main loop: how full the window is.
    #[serde(skip)]
    pub(crate) context_tokens: u64,
}

/// What the API's counts are in the domain's words. Cache writes of unknown lifetime count as the shorter one.
fn domain_usage(usage: &Usage) -> domain::Usage {
    let (five_minutes, one_hour) = match usage.cache_creation {
        Some(split) => (split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens),
        None => (usage.cache_creation_input_tokens, 0),
    };
    let searches = usage
        .extra
        .get("server_tool_use")
        .and_then(|value| value.get("web_search_requests")?.as_u64());
    domain::Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_input_tokens: usage.cache_read_input_tokens,
        cache_creation_5m_input_tokens: five_minutes,
        cache_creation_1h_input_tokens: one_hour,
        web_search_requests: searches.unwrap_or(0),
    }
}

impl Account {
    pub(crate) fn begin_turn(&mut self) {
        self.turn = Usage::default();
        self.api_time = Duration::ZERO;
    }

    /// Takes over the totals of a session that is resumed.
    pub(crate) fn resumed(mut self) -> Self {
        self.cost = Cost::from_usd(self.total_cost_usd);
        self
    }

    pub(crate) fn total(&self) -> Cost {
        self.cost
    }

    /// Books one call. Counts come from outside and saturate.
    pub(crate) fn book(&mut self, model: &str, usage: &Usage) {
        add(&mut self.turn, usage);
        let counted = domain_usage(usage);
        let prices = PriceTable::built_in().model(model);
        let cost = prices.map(|prices| prices.cost(&counted));
        self.has_unknown_cost |= cost.is_none();
        self.cost += cost.unwrap_or(Cost::ZERO);
        self.total_cost_usd = self.cost.usd();
        let entry = self.by_model.entry(model.to_owned()).or_default();
        let plus = |total: &mut u64, more: u64| *total = total.saturating_add(more);
        plus(&mut entry.input_tokens, usage.input_tokens);
        plus(&mut entry.output_tokens, usage.output_tokens);
        plus(&mut entry.cache_read_input_tokens, usage.cache_read_input_tokens);
        plus(
            &mut entry.cache_creation_input_tokens,
            usage.cache_creation_input_tokens,
        );
        plus(
            &mut entry.cache_creation_5m_input_tokens,
            counted.cache_creation_5m_input_tokens,
        );
        plus(
            &mut entry.cache_creation_1h_input_tokens,
            counted.cache_creation_1h_input_tokens,
        );
        plus(&mut entry.web_search_requests, counted.web_search_requests);
        entry.cost_usd += cost.unwrap_or(Cost::ZERO).usd();
        entry.context_window = prices.map_or(0, |prices| prices.context_window);
        entry.max_output_tokens = prices.map_or(0, |prices| prices.max_output_tokens);
        (if prices.is_some() { "list" } else { "unknown" }).clone_into(&mut entry.cost_basis);
    }

    /// Notes how full the window is after a call of the main loop.
    pub(crate) fn note_context(&mut self, usage: &Usage) {
        self.context_tokens = usage
            .input_tokens
            .saturating_add(usage.cache_read_input_tokens)
            .saturating_add(usage.cache_creation_input_tokens)
            .saturating_add(usage.output_tokens);
    }
}

fn add(total: &mut Usage, more: &Usage) {
    total.input_tokens = total.input_tokens.saturating_add(more.input_tokens);
    total.output_tokens = total.output_tokens.saturating_add(more.output_tokens);
    total.cache_read_input_tokens = total
        .cache_read_input_tokens
        .saturating_add(more.cache_read_input_tokens);
    total.cache_creation_input_tokens = total
        .cache_creation_input_tokens
        .saturating_add(more.cache_creation_input_tokens);
    add_server_tools(total, more);
    if let Some(more) = more.cache_creation {
        let total = total.cache_creation.get_or_insert_default();
        total.ephemeral_5m_input_tokens = total
            .ephemeral_5m_input_tokens
            .saturating_add(more.ephemeral_5m_input_tokens);
        total.ephemeral_1h_input_tokens = total
            .ephemeral_1h_input_tokens
            .saturating_add(more.ephemeral_1h_input_tokens);
    }
}

/// Uses of the API's own tools, by name.
fn add_server_tools(total: &mut Usage, more: &Usage) {
    let Some(Value::Object(more)) = more.extra.get("server_tool_use") else {
        return;
    };
    let counts = total
        .extra
        .entry("server_tool_use")
        .or_insert_with(|| Value::Object(Extra::new()));
    for (name, count) in more {
        let Some(count) = count.as_u64() else { continue };
        let before = counts[name].as_u64().unwrap_or(0);
        counts[name] = before.saturating_add(count).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_cost_their_list_price_and_unknown_ones_are_marked() {
        let mut account = Account::default();
        let usage = Usage {
            input_tokens: 1_000_000,
            output_tokens: 1_000_000,
            ..Usage::default()
        };
        account.book("claude-haiku-4-5", &usage);
        assert!((account.total_cost_usd - 6.0).abs() < 1e-9);
        account.book("gpt-9", &usage);
        assert!(account.has_unknown_cost);
        assert_eq!(account.by_model["gpt-9"].cost_basis, "unknown");
        assert_eq!(account.turn.input_tokens, 2_000_000);
    }

    #[test]
    fn totals_go_on_after_a_resume() {
        let mut account = Account::default();
        account.book(
            "claude-haiku-4-5",
            &Usage {
                input_tokens: 1_000_000,
                ..Usage::default()
            },
        );
        let text = serde_json::to_string(&account).unwrap();
        let mut resumed = serde_json::from_str::<Account>(&text).unwrap().resumed();
        resumed.book(
            "claude-haiku-4-5",
            &Usage {
                input_tokens: 1_000_000,
                ..Usage::default()
            },
        );
        assert!((resumed.total_cost_usd - 2.0).abs() < 1e-9);
        assert_eq!(resumed.by_model["claude-haiku-4-5"].input_tokens, 2_000_000);
    }

    #[test]
    fn counts_from_a_hostile_server_do_not_overflow() {
        let mut account = Account::default();
        let usage = Usage {
            input_tokens: u64::MAX,
            output_tokens: u64::MAX,
            ..Usage::default()
        };
        account.book("gpt-9", &usage);
        account.book("gpt-9", &usage);
        account.note_context(&usage);
        assert_eq!(account.context_tokens, u64::MAX);
    }
}
