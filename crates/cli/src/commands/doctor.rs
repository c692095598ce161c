//! `hostler doctor`: what is enforced on this machine, aspect by aspect, and what would help where something is not.

use crate::arguments::DoctorArguments;
use crate::check::data_directory;
use crate::commands::{end, start};
use crate::services::{How, Services, StartOptions};
use domain::PriceTable;
use sandbox::Report;
use serde::Serialize;
use std::path::Path;
use terminal::{Environment, Failure, Signals, Style, Terminal};

#[derive(Serialize)]
struct Findings<'a> {
    version: &'static str,
    data: &'a Path,
    /// Whether every aspect is enforced.
    complete: bool,
    aspects: &'a [sandbox::Enforcement],
    model_key: bool,
    price_table: &'a str,
}

pub(crate) async fn doctor(
    arguments: &DoctorArguments,
    environment: &Environment,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let data = data_directory(&arguments.data, environment)?;
    let options = StartOptions::to_look_at(data);
    let running = start(services, &options, signals).await?;
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        data: &running.data,
        complete: running.report.missing().next().is_none(),
        aspects: &running.report.aspects,
        model_key: environment.api_key.is_some(),
        price_table: &PriceTable::built_in().date,
    };
    if arguments.json {
        let mut line = serde_json::to_vec(&findings).unwrap_or_default();
        line.push(b'\n');
        terminal.output(&line);
    } else {
        let text = describe(&findings, &running.report, terminal.out_style());
        terminal.output(text.as_bytes());
    }
    end(running, How::End, signals).await;
    Ok(())
}

fn describe(findings: &Findings<'_>, report: &Report, style: Style) -> String {
    let key = if findings.model_key {
        "ANTHROPIC_API_KEY is set"
    } else {
        "ANTHROPIC_API_KEY is not set"
    };
    let mut lines = vec![
        format!("hostler          {}", findings.version),
        format!("data directory   {}", findings.data.display()),
        format!("model            {key}"),
        format!("price table      {}", findings.price_table),
        String::new(),
    ];
    for found in &report.aspects {
        let word = if found.enforced {
            style.green("enforced    ")
        } else {
            style.yellow("NOT enforced")
        };
        lines.push(
            format!("{:<15}  {word}  {}", found.aspect.as_str(), found.detail)
                .trim_end()
                .to_owned(),
        );
    }
    lines.push(String::new());
    let missing = report.missing().count();
    lines.push(match missing {
        0 => "everything is enforced on this machine".to_owned(),
        1 => "one thing is not enforced on this machine".to_owned(),
        count => format!("{count} things are not enforced on this machine"),
    });
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox::{Aspect, Enforcement};

    #[test]
    fn each_aspect_has_a_line_with_its_reason() {
        let aspect = |aspect, enforced, detail: &str| Enforcement {
            aspect,
            enforced,
            detail: detail.to_owned(),
        };
        let report = Report {
            aspects: vec![
                aspect(Aspect::Network, true, "no device but lo"),
                aspect(Aspect::Landlock, false, "the kernel has none"),
            ],
        };
        let findings = Findings {
            version: "1.2.3",
            data: Path::new("/d"),
            complete: false,
            aspects: &report.aspects,
            model_key: false,
            price_table: "2026-01-01",
        };
        assert_eq!(
            describe(&findings, &report, Style::new(false)),
            "hostler          1.2.3\n\
             data directory   /d\n\
             model            ANTHROPIC_API_KEY is not set\n\
             price table      2026-01-01\n\
             \n\
             network          enforced      no device but lo\n\
             landlock         NOT enforced  the kernel has none\n\
             \n\
             one thing is not enforced on this machine\n"
        );
    }
}
