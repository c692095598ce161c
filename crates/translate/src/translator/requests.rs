//! Model requests, from when the runtime says that it asks to the end of the reply, and what comes between two attempts.

use super::{Meaning, Translator, event, not_made};
use crate::retry;
use domain::EventId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use stream_json::ApiRetry;
use wire::{Body, ModelUsage};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) started: EventId,
    /// Whether the reply has begun.
    #[serde(default)]
    pub(super) answered: bool,
    pub(super) usage: ModelUsage,
    /// Calls of the reply so far, by the runtime's id. They are made when the reply is whole.
    #[serde(default)]
    pub(super) calls: BTreeSet<String>,
}

impl Translator {
    /// A request failed and will be made again. Where it is one that a tool made, the session works on meanwhile.
    pub(super) fn retry(&mut self, attempt: &ApiRetry, out: &mut Vec<Meaning>) {
        let holds_up = self.state.request.is_some() || self.state.compacts;
        self.close_request(true, out);
        self.streaming.reset();
        let error = retry::error(attempt);
        event(out, Body::SessionError { error });
        if holds_up && !std::mem::replace(&mut self.state.waits, true) {
            event(out, Body::SessionStatusRescheduled);
        }
    }

    pub(super) fn go_on(&mut self, out: &mut Vec<Meaning>) {
        if std::mem::take(&mut self.state.waits) {
            event(out, Body::SessionStatusRunning);
        }
    }

    pub(super) fn open_request(&mut self, out: &mut Vec<Meaning>) {
        self.close_request(true, out);
        self.streaming.reset();
        self.go_on(out);
        let started = EventId::random();
        out.push(Meaning::Event(started.clone(), Body::SpanModelRequestStart));
        self.state.request = Some(Request {
            started,
            answered: false,
            usage: ModelUsage::default(),
            calls: BTreeSet::new(),
        });
    }

    /// A reply that failed makes no calls.
    pub(super) fn close_request(&mut self, failed: bool, out: &mut Vec<Meaning>) {
        if let Some(Request {
            started,
            usage,
            calls,
            ..
        }) = self.state.request.take()
        {
            if failed {
                self.end_calls(out, not_made, |id, _| calls.contains(id));
            }
            let end = Body::SpanModelRequestEnd {
                model_request_start_id: started,
                is_error: failed.then_some(true),
                model_usage: usage,
            };
            event(out, end);
        }
    }
}
