//! One span, until it ends: when it is dropped, or a moment that is known.

use crate::names;
use crate::{Context, start::Started};
use domain::Usage;
use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanKind, Status, Tracer as _};
use opentelemetry::{KeyValue, Value};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// What nobody waited for to its end.
pub(crate) const CUT: &str = "cut";
/// Characters of a name that a client or an agent chose.
const MAX_NAME: usize = 128;

pub(crate) struct Span(opentelemetry_sdk::trace::Span);

/// Something that takes a while and has no parts; nothing where it is not recorded. Dropped before its end it was cut.
#[derive(Default)]
pub struct Step(pub(crate) Option<Span>);

/// What a span begins with.
pub(crate) struct New<'a> {
    pub name: Cow<'static, str>,
    pub kind: SpanKind,
    pub parent: Option<&'a Context>,
    /// Another span that it goes on with.
    pub link: Option<Context>,
    pub began: SystemTime,
    pub attributes: Vec<KeyValue>,
}

impl<'a> New<'a> {
    /// Inside the host, from now on.
    pub(crate) fn of(
        name: impl Into<Cow<'static, str>>,
        parent: &'a Context,
        attributes: Vec<KeyValue>,
    ) -> Self {
        Self {
            name: name.into(),
            kind: SpanKind::Internal,
            parent: Some(parent),
            link: None,
            began: SystemTime::now(),
            attributes,
        }
    }
}

impl Span {
    pub(crate) fn begin(started: &Started, new: New<'_>) -> Self {
        let mut builder = SpanBuilder::from_name(new.name)
            .with_kind(new.kind)
            .with_start_time(new.began)
            .with_attributes(new.attributes);
        if let Some(Context(link)) = new.link {
            builder = builder.with_links(vec![Link::with_context(link)]);
        }
        let parent = new.parent.map(Context::as_parent).unwrap_or_default();
        Self(started.tracer.build_with_context(builder, &parent))
    }

    pub(crate) fn context(&self) -> Context {
        Context(self.0.span_context().clone())
    }

    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(name, value));
    }

    /// What went wrong, by a word and never by a text.
    pub(crate) fn fail(&mut self, kind: impl Into<Cow<'static, str>>) {
        self.set(names::ERROR, kind.into());
        self.0.set_status(Status::error(""));
    }

    /// Something that happened meanwhile.
    pub(crate) fn happened(&mut self, what: &'static str, attributes: Vec<KeyValue>) {
        self.0.add_event(what, attributes);
    }

    pub(crate) fn end_at(mut self, moment: SystemTime) {
        self.0.end_with_timestamp(moment);
    }

    /// Tokens: those of the cache are counted with the input, as the conventions have it.
    pub(crate) fn used(&mut self, usage: &Usage) {
        let written = usage.cache_creation_5m_input_tokens + usage.cache_creation_1h_input_tokens;
        let read = usage.cache_read_input_tokens;
        for (name, tokens) in [
            (names::INPUT_TOKENS, usage.input_tokens + read + written),
            (names::OUTPUT_TOKENS, usage.output_tokens),
            (names::CACHE_READ_TOKENS, read),
            (names::CACHE_CREATION_TOKENS, written),
        ] {
            self.set(name, tokens as i64);
        }
    }
}

impl Step {
    /// It is done, or it failed in this way.
    pub fn ended_as<T, E>(mut self, outcome: &Result<T, E>, kind: &'static str) {
        if let Some(mut span) = self.0.take()
            && outcome.is_err()
        {
            span.fail(kind);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(span) = &mut self.0 {
            span.fail(CUT);
        }
    }
}

/// A name that somebody else chose.
pub(crate) fn short(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// When something began that has taken this long.
pub(crate) fn ago(took: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(took).unwrap_or(now)
}
