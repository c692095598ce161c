//! What a script must be beyond its shape.

use super::{Fault, Script, ScriptError, Step, Turn, When};
use crate::template;

/// Longer waits are a mistake in the script, not a simulation.
const MAX_DELAY_MS: u64 = 3_600_000;

pub(super) fn check(script: &Script) -> Result<(), ScriptError> {
    if script.name.is_empty() {
        return Err(invalid("name", "it is empty"));
    }
    if script.turns.is_empty() && script.anytime.is_empty() {
        return Err(invalid("turns", "there are none"));
    }
    for (number, turn) in script.anytime.iter().enumerate() {
        let place = format!("anytime[{number}]");
        if turn.when == When::default() {
            return Err(invalid(
                &place,
                "it needs a `when`, or no other turn could ever be played",
            ));
        }
        check_turn(turn, &place)?;
    }
    for (number, position) in script.turns.iter().enumerate() {
        let place = format!("turns[{number}]");
        if position.0.is_empty() {
            return Err(invalid(&place, "the list of alternatives is empty"));
        }
        for turn in &position.0 {
            check_turn(turn, &place)?;
        }
    }
    Ok(())
}

fn check_turn(turn: &Turn, place: &str) -> Result<(), ScriptError> {
    let fails_for_ever = turn.fault.as_ref().is_some_and(|fault| {
        matches!(fault, Fault::Error { .. } | Fault::Close { .. }) && fault.times().is_none()
    });
    if turn.reply.is_empty() && !fails_for_ever {
        return Err(invalid(place, "`reply` is empty"));
    }
    check_delay(turn.first_byte_delay_ms, place)?;
    check_delay(turn.chunk_delay_ms, place)?;
    for step in &turn.reply {
        check_step(step, place)?;
    }
    match &turn.fault {
        Some(Fault::Error { status, .. }) if !(400..=599).contains(status) => {
            Err(invalid(place, "the status of an error is between 400 and 599"))
        }
        Some(Fault::Endless { interval_ms, .. }) => check_delay(*interval_ms, place),
        Some(_) | None => Ok(()),
    }
}

fn check_step(step: &Step, place: &str) -> Result<(), ScriptError> {
    let kinds = [
        step.text.is_some(),
        step.repeat.is_some(),
        step.thinking.is_some(),
        step.redacted_thinking.is_some(),
        step.tool_use.is_some(),
        step.web_search.is_some(),
    ];
    if kinds.into_iter().filter(|given| *given).count() != 1 {
        return Err(invalid(
            place,
            "a step has exactly one of text, repeat, thinking, redacted_thinking, tool_use and web_search",
        ));
    }
    if step.signature.is_some() && step.thinking.is_none() {
        return Err(invalid(place, "`signature` belongs to `thinking`"));
    }
    if step.chunk == Some(0) {
        return Err(invalid(place, "`chunk` is at least 1"));
    }
    if step.repeat.as_ref().is_some_and(|repeat| repeat.text.is_empty()) {
        return Err(invalid(place, "`repeat` needs a text"));
    }
    check_delay(step.delay_ms, place)?;
    for text in [&step.text, &step.thinking].into_iter().flatten() {
        check_template(text, place)?;
    }
    if let Some(search) = &step.web_search {
        if search.error.is_some() && !search.results.is_empty() {
            return Err(invalid(place, "a search has results or an error"));
        }
        check_template(&search.query, place)?;
    }
    let Some(tool) = &step.tool_use else { return Ok(()) };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if tool.name.is_empty() || tool.name.len() > 128 || !tool.name.chars().all(is_name) {
        return Err(invalid(
            place,
            "the name of a tool is 1 to 128 letters, digits, _ and -",
        ));
    }
    template::strings(&tool.input).try_for_each(|text| check_template(text, place))
}

fn check_template(text: &str, place: &str) -> Result<(), ScriptError> {
    template::check(text).map_err(|reason| invalid(place, &reason))
}

fn check_delay(milliseconds: u64, place: &str) -> Result<(), ScriptError> {
    if milliseconds > MAX_DELAY_MS {
        return Err(invalid(place, "a delay is at most 3600000 ms"));
    }
    Ok(())
}

fn invalid(place: &str, reason: &str) -> ScriptError {
    ScriptError::Invalid {
        place: place.to_owned(),
        reason: reason.to_owned(),
    }
}
