//! `xtask/tidy.toml`: the one list of what may break a rule, each entry with its reason. An entry that excuses nothing
//! is a finding itself, so that the list only shrinks.

use super::{Finding, Rule};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exceptions {
    #[serde(default)]
    exception: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    path: String,
    rule: Rule,
    /// The budget that holds for this path in place of the rule's own; missing for rules without a number.
    limit: Option<usize>,
    reason: String,
}

impl Exceptions {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text).context("the list of exceptions cannot be read")?;
        for exception in &list.exception {
            let named = format!(
                "the exception of {} for {}",
                exception.path,
                exception.rule.as_str()
            );
            ensure!(
                exception.reason.split_whitespace().count() >= 3,
                "{named} needs a reason"
            );
            ensure!(exception.rule != Rule::Exception, "{named}: this rule has none");
        }
        Ok(list)
    }

    /// The findings that are not excused, and one for each exception that excused nothing.
    pub(crate) fn apply(&self, own_path: &str, findings: Vec<Finding>) -> Vec<Finding> {
        let mut used = vec![false; self.exception.len()];
        let mut left = Vec::new();
        for finding in findings {
            let excuse = self
                .exception
                .iter()
                .position(|exception| exception.excuses(&finding));
            match excuse {
                Some(index) => used[index] = true,
                None => left.push(finding),
            }
        }
        for (exception, _) in self.exception.iter().zip(used).filter(|(_, used)| !used) {
            let advice = format!(
                "{} no longer breaks {}: remove the exception",
                exception.path,
                exception.rule.as_str()
            );
            left.push(Finding::new(own_path, 1, Rule::Exception, advice));
        }
        left
    }
}

impl Exception {
    fn excuses(&self, finding: &Finding) -> bool {
        let fits = match (self.limit, finding.size) {
            (Some(limit), Some(size)) => size <= limit,
            (None, None) => true,
            _ => false,
        };
        fits && self.rule == finding.rule && self.path == finding.path
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIST: &str = r#"
        [[exception]]
        path = "a.rs"
        rule = "file-length"
        limit = 600
        reason = "a table that reads best in one piece"
    "#;

    fn long(path: &str, size: usize) -> Finding {
        Finding::new(path, 1, Rule::FileLength, "split it").sized(size)
    }

    #[test]
    fn an_exception_excuses_its_path_up_to_its_limit() {
        let list = Exceptions::parse(LIST).unwrap();
        assert_eq!(list.apply("tidy.toml", vec![long("a.rs", 600)]), []);
        assert_eq!(
            list.apply("tidy.toml", vec![long("a.rs", 550), long("b.rs", 550)]),
            [long("b.rs", 550)]
        );
    }

    #[test]
    fn an_exception_that_excuses_nothing_is_a_finding() {
        let list = Exceptions::parse(LIST).unwrap();
        for findings in [Vec::new(), vec![long("a.rs", 601)]] {
            let left = list.apply("tidy.toml", findings);
            assert!(
                left.iter().any(|finding| finding.rule == Rule::Exception),
                "{left:?}"
            );
        }
    }

    #[test]
    fn an_exception_without_a_reason_or_with_an_unknown_rule_is_refused() {
        let empty = LIST.replace("a table that reads best in one piece", "because");
        assert!(Exceptions::parse(&empty).is_err());
        assert!(Exceptions::parse(&LIST.replace("file-length", "file-size")).is_err());
        assert!(Exceptions::parse(&LIST.replace("limit", "limits")).is_err());
    }
}
