//! The model that is asked for: one whose price is known, or any that the user's own server may have.

use change_set::printable;
use domain::{Cost, PriceTable};
use terminal::Failure;

#[derive(Debug, thiserror::Error)]
enum ModelError {
    #[error("{id:?} is not a model id")]
    Malformed { id: String },
    #[error("there is no model {id:?} in the price table of {date}")]
    Unknown { id: String, date: String },
    #[error("a budget needs the price of {id:?}, which is not in the price table of {date}")]
    NoPrice { id: String, date: String },
}

/// A warning, if any. With `own_server` any id is taken, since only that server knows its models.
pub(crate) fn check_model(
    id: &str,
    own_server: bool,
    budget: Option<Cost>,
    prices: &PriceTable,
) -> Result<Option<String>, Failure> {
    let date = prices.date.clone();
    let sound = !id.is_empty()
        && id.len() <= 200
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.:/@[]+".contains(c));
    if !sound {
        let id = printable(&id.as_bytes()[..id.len().min(100)]);
        return Err(Failure::usage(ModelError::Malformed { id }).hint(known(prices)));
    }
    let id = id.to_owned();
    match (prices.model(&id), own_server, budget) {
        (Some(_), ..) => Ok(None),
        (None, false, _) => Err(Failure::usage(ModelError::Unknown { id, date }).hint(known(prices))),
        (None, true, Some(_)) => Err(Failure::usage(ModelError::NoPrice { id, date })
            .hint("use --max-turns, or a model that is in the table")),
        (None, true, None) => Ok(Some(format!(
            "{id} is not in the price table of {date}: its cost is unknown"
        ))),
    }
}

fn known(prices: &PriceTable) -> String {
    let ids: Vec<&str> = prices.models.keys().map(String::as_str).collect();
    format!(
        "known are {}; with ANTHROPIC_BASE_URL set, any is taken",
        ids.join(", ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::arguments::DEFAULT_MODEL;

    fn check(id: &str, own_server: bool, budget: Option<Cost>) -> Result<Option<String>, Failure> {
        check_model(id, own_server, budget, PriceTable::built_in())
    }

    #[test]
    fn the_default_model_has_a_price() {
        assert_eq!(check(DEFAULT_MODEL, false, Some(Cost::from_usd(1.0))), Ok(None));
    }

    #[test]
    fn an_unknown_model_is_refused_with_those_that_are_known() {
        let failure = check("gpt-9", false, None).unwrap_err();
        assert!(
            failure
                .to_string()
                .starts_with("there is no model \"gpt-9\" in the price table of 20")
        );
        assert!(failure.hint.unwrap().contains(DEFAULT_MODEL));
    }

    #[test]
    fn a_server_of_one_s_own_may_have_any_model_but_no_budget_for_it() {
        assert!(
            check("qwen3:30b", true, None)
                .unwrap()
                .unwrap()
                .contains("its cost is unknown")
        );
        assert!(
            check("qwen3:30b", true, Some(Cost::from_usd(1.0)))
                .unwrap_err()
                .to_string()
                .contains("a budget needs")
        );
    }

    #[test]
    fn what_is_no_id_is_refused_everywhere() {
        for id in ["", "a b", "a\nb", "\u{1b}[2J", "modèle", &"x".repeat(201)] {
            let failure = check(id, true, None).unwrap_err();
            assert!(failure.to_string().contains("is not a model id"), "{failure}");
            assert!(!failure.to_string().contains('\u{1b}'));
        }
    }
}
