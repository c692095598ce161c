//! `OTEL_TRACES_SAMPLER`: which traces are recorded.

use crate::settings::{SettingsError, Variables};
use opentelemetry_sdk::trace::Sampler;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

pub(crate) fn read(variables: &Variables<'_>) -> Result<Sampler, SettingsError> {
    let name = variables.text(SAMPLER);
    let by_parent = |root| Sampler::ParentBased(Box::new(root));
    Ok(match name.as_deref().unwrap_or("parentbased_always_on") {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio(variables)?),
        "parentbased_always_on" => by_parent(Sampler::AlwaysOn),
        "parentbased_always_off" => by_parent(Sampler::AlwaysOff),
        "parentbased_traceidratio" => by_parent(Sampler::TraceIdRatioBased(ratio(variables)?)),
        other => {
            return Err(SettingsError::value(
                SAMPLER,
                other,
                "is no sampler of hostler: use parentbased_always_on, parentbased_traceidratio, traceidratio, \
                 always_on, always_off or parentbased_always_off",
            ));
        }
    })
}

/// All of them, unless it is told.
fn ratio(variables: &Variables<'_>) -> Result<f64, SettingsError> {
    let Some(text) = variables.text(ARGUMENT) else {
        return Ok(1.0);
    };
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(SettingsError::value(
            ARGUMENT,
            &text,
            "is no share of traces: use a number from 0 to 1, like 0.1",
        )),
    }
}
