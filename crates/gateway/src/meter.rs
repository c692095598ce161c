//! What a call used, from the answer as it passes.
//!
//! Until the last count was seen, output is counted from the bytes that passed: a client that leaves before the end
//! has still used what it saw.

use crate::sse::{Event, Reader};
use crate::usage_report;
use domain::Usage;
use serde::Deserialize;
use serde_json::Value;

/// What an event is without the text in it.
const EVENT_FRAME_BYTES: u64 = 80;
const BYTES_PER_TOKEN: u64 = 4;
/// Names of models are short; the rest of a longer one is somebody's joke.
const MAX_MODEL_BYTES: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Meter {
    reader: Reader,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    usage: Usage,
    model: Option<String>,
    text_bytes: u64,
    last_count_seen: bool,
    stopped: bool,
    failed: bool,
}

#[derive(Deserialize)]
struct StreamEvent {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    usage: Value,
}

impl Meter {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let tally = &mut self.tally;
        self.reader.push(bytes, &mut |event| tally.event(event));
    }

    /// What was used so far, and whether the output is counted from bytes.
    pub(crate) fn usage(&self) -> (Usage, bool) {
        let mut usage = self.tally.usage;
        if self.tally.last_count_seen {
            return (usage, false);
        }
        usage.output_tokens = usage.output_tokens.max(self.tally.text_bytes / BYTES_PER_TOKEN);
        (usage, true)
    }

    pub(crate) fn model(&self) -> Option<&str> {
        self.tally.model.as_deref()
    }

    /// The message is complete, or an error has ended it.
    pub(crate) fn is_over(&self) -> bool {
        self.tally.stopped || self.tally.failed
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.tally.stopped && !self.tally.failed
    }

    pub(crate) fn between_events(&self) -> bool {
        self.reader.between_events()
    }
}

impl Tally {
    fn event(&mut self, event: Event<'_>) {
        let data = match event {
            Event::TooLong(length) => {
                self.text_bytes = self.text_bytes.saturating_add(length);
                return;
            }
            Event::Data(data) => data,
        };
        if !may_matter(data) {
            self.text_bytes += (data.len() as u64).saturating_sub(EVENT_FRAME_BYTES);
            return;
        }
        // A list would be read as a message by the order of its fields.
        let is_object = data.trim_ascii_start().starts_with(b"{");
        let Some(message) = is_object
            .then(|| serde_json::from_slice::<StreamEvent>(data).ok())
            .flatten()
        else {
            return;
        };
        match message.kind.as_str() {
            "message_start" => {
                self.model = model_of(&message.message);
                usage_report::apply(&mut self.usage, &message.message["usage"]);
            }
            "message_delta" => {
                usage_report::apply(&mut self.usage, &message.usage);
                self.last_count_seen = message.usage["output_tokens"].is_u64();
            }
            "message_stop" => self.stopped = true,
            "error" => self.failed = true,
            _ => self.text_bytes += (data.len() as u64).saturating_sub(EVENT_FRAME_BYTES),
        }
    }
}

/// The model and the use of a message that was not streamed; nothing if it is none.
pub(crate) fn of_message(body: &[u8]) -> Option<(Option<String>, Usage)> {
    let message: Value = serde_json::from_slice(body).ok()?;
    let report = message.get("usage")?;
    let mut usage = Usage::default();
    usage_report::apply(&mut usage, report);
    Some((model_of(&message), usage))
}

fn model_of(message: &Value) -> Option<String> {
    let model = message["model"].as_str()?;
    (model.len() <= MAX_MODEL_BYTES).then(|| model.to_owned())
}

/// Most events are deltas, which need no parsing.
fn may_matter(data: &[u8]) -> bool {
    let holds = |name: &[u8]| data.windows(name.len()).any(|window| window == name);
    holds(b"\"message_") || holds(b"\"error\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"type":"message_start","message":{"model":"m-1","usage":{"input_tokens":100,"output_tokens":1}}}"#;
    const DELTA: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"message_delta \"message_stop\""}}"#;
    const END: &str =
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":50}}"#;

    fn metered(events: &[&str]) -> Meter {
        let mut meter = Meter::default();
        for event in events {
            meter.push(format!("event: x\ndata: {event}\n\n").as_bytes());
        }
        meter
    }

    #[test]
    fn a_whole_stream_is_counted_as_reported() {
        let meter = metered(&[START, DELTA, END, r#"{"type":"message_stop"}"#]);
        let (usage, estimated) = meter.usage();
        assert_eq!(
            (usage.input_tokens, usage.output_tokens, estimated),
            (100, 50, false)
        );
        assert_eq!(meter.model(), Some("m-1"));
        assert!(meter.is_complete() && meter.is_over());
    }

    #[test]
    fn a_cut_stream_is_counted_by_what_passed() {
        let long = format!(
            r#"{{"type":"content_block_delta","delta":{{"text":"{}"}}}}"#,
            "x".repeat(4000)
        );
        let (usage, estimated) = metered(&[START, &long]).usage();
        assert!(estimated);
        assert!((900..=1010).contains(&usage.output_tokens), "{usage:?}");
    }

    #[test]
    fn text_that_looks_like_an_event_is_none() {
        let meter = metered(&[START, DELTA, "{broken \"message_stop\"", r#"["message_stop"]"#]);
        assert!(!meter.is_over());
    }

    #[test]
    fn an_error_ends_a_message_that_is_not_complete() {
        let meter = metered(&[
            START,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
        ]);
        assert!(meter.is_over() && !meter.is_complete());
    }

    #[test]
    fn a_message_that_was_not_streamed_has_its_use_in_itself() {
        let body = br#"{"type":"message","model":"m","usage":{"input_tokens":1,"output_tokens":2}}"#;
        let (model, usage) = of_message(body).unwrap();
        assert_eq!((model.as_deref(), usage.output_tokens), (Some("m"), 2));
        assert!(of_message(b"<html>").is_none());
    }
}
