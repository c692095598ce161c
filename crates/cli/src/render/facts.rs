//! Single lines of facts: what the sandbox is, what this machine does not enforce, what it cost.

use control::Summary;
use domain::{Limits, PriceTable};
use policy::Rules;
use sandbox::Report;
use terminal::text::{grouped, one_line};
use wire::{Money, SessionUsage};

/// What the agent's sandbox may use and reach.
pub(crate) fn sandbox_line(limits: &Limits, rules: &Rules) -> String {
    let hosts = if rules.is_empty() {
        String::new()
    } else {
        format!(", {rules}")
    };
    format!(
        "sandbox: {} CPU, {} memory, {} disk, {} processes; network: the model{hosts}",
        cpus(limits.cpu_millis),
        size(limits.memory_bytes),
        size(limits.disk_bytes),
        limits.pids,
    )
}

/// What is not enforced; nothing where everything is.
pub(crate) fn missing_line(report: &Report) -> Option<String> {
    let missing: Vec<&str> = report.missing().map(|found| found.aspect.as_str()).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "not enforced on this machine: {} (hostler doctor says why)",
            missing.join(", ")
        )
    })
}

/// What the model calls cost by list price.
pub(crate) fn cost_line(summary: &Summary, simulated: bool) -> String {
    let date = &PriceTable::built_in().date;
    let cost = match summary.list_cost {
        Some(cost) => format!("list cost {cost}, price table of {date}"),
        None => format!("list cost unknown, the model is not in the price table of {date}"),
    };
    let usage = &summary.usage;
    let cached = usage.cache_read_input_tokens;
    let written = usage.cache_creation_5m_input_tokens + usage.cache_creation_1h_input_tokens;
    let requests = if summary.turns == 1 { "request" } else { "requests" };
    let charged = if simulated {
        "; simulated, so nothing is charged"
    } else {
        ""
    };
    format!(
        "{cost}; {} model {requests}, {} tokens in ({} from the cache), {} out{charged}",
        grouped(summary.turns),
        grouped(usage.input_tokens + cached + written),
        grouped(cached),
        grouped(usage.output_tokens),
    )
}

/// What a session used, in all its turns.
pub(crate) fn used(usage: &SessionUsage) -> String {
    let written = usage.cache_creation.unwrap_or_default();
    let written =
        written.ephemeral_5m_input_tokens.unwrap_or(0) + written.ephemeral_1h_input_tokens.unwrap_or(0);
    let cached = usage.cache_read_input_tokens.unwrap_or(0);
    let cost = match &usage.list_cost {
        Some(cost) => dollars(cost),
        None => "list cost unknown".to_owned(),
    };
    format!(
        "{cost}, {} tokens in ({} from the cache), {} out",
        grouped(usage.input_tokens.unwrap_or(0) + cached + written),
        grouped(cached),
        grouped(usage.output_tokens.unwrap_or(0))
    )
}

/// An amount that the API gives in cents.
pub(crate) fn dollars(money: &Money) -> String {
    match money.amount.parse::<u64>() {
        Ok(cents) if money.currency == "USD" => format!("${}.{:02}", cents / 100, cents % 100),
        _ => one_line(&format!("{} {}", money.amount, money.currency), 40),
    }
}

fn cpus(millis: u32) -> String {
    if millis.is_multiple_of(1000) {
        (millis / 1000).to_string()
    } else {
        format!("{}", f64::from(millis) / 1000.0)
    }
}

pub(crate) fn size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let one = 1_u64 << shift;
        if bytes >= one {
            let tenths = bytes / (one / 10).max(1);
            return match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                tenth => format!("{}.{tenth} {unit}", tenths / 10),
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use domain::{Cost, SessionStatus, Usage};
    use sandbox::{Aspect, Enforcement};
    use std::time::Duration;

    #[test]
    fn the_sandbox_is_described_in_a_line() {
        let rules = Rules::parse(["example.org", "*.example.com:8443"]).unwrap();
        let limits = Limits {
            cpu_millis: 1500,
            memory_bytes: 3 << 29,
            ..Limits::default()
        };
        assert_eq!(
            sandbox_line(&limits, &rules),
            "sandbox: 1.5 CPU, 1.5 GiB memory, 5 GiB disk, 512 processes; network: the model, example.org, *.example.com:8443"
        );
        assert!(sandbox_line(&Limits::default(), &Rules::none()).ends_with("network: the model"));
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let enforcement = |aspect, enforced| Enforcement {
            aspect,
            enforced,
            detail: String::new(),
        };
        let mut report = Report {
            aspects: vec![enforcement(Aspect::Network, true)],
        };
        assert_eq!(missing_line(&report), None);
        report.aspects.push(enforcement(Aspect::DiskLimit, false));
        report.aspects.push(enforcement(Aspect::Landlock, false));
        assert_eq!(
            missing_line(&report).unwrap(),
            "not enforced on this machine: disk limit, landlock (hostler doctor says why)"
        );
    }

    #[test]
    fn the_cost_is_named_with_its_price_table_or_said_to_be_unknown() {
        let usage = Usage {
            input_tokens: 1000,
            cache_read_input_tokens: 4000,
            output_tokens: 200,
            ..Usage::default()
        };
        let mut summary = Summary {
            status: SessionStatus::Idle,
            stop_reason: None,
            result_text: None,
            error: None,
            usage,
            list_cost: Some(Cost::from_usd(0.0123)),
            turns: 3,
            duration: Duration::from_secs(2),
        };
        let date = &PriceTable::built_in().date;
        assert_eq!(
            cost_line(&summary, false),
            format!(
                "list cost $0.0123, price table of {date}; 3 model requests, 5,000 tokens in (4,000 from the cache), 200 out"
            )
        );
        assert!(cost_line(&summary, true).ends_with("; simulated, so nothing is charged"));
        summary.list_cost = None;
        assert!(cost_line(&summary, false).starts_with("list cost unknown, "));
    }

    #[test]
    fn sizes_are_written_with_the_digits_that_matter() {
        for (bytes, text) in [
            (5 << 30, "5 GiB"),
            (512 << 20, "512 MiB"),
            (3 << 29, "1.5 GiB"),
            (100, "100 bytes"),
            (1 << 40, "1 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
