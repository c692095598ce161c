//! The gateway's ledger, kept in the store and counted.

use async_trait::async_trait;
use gateway::{CallId, CallOutcome, Ended, Ledger, LedgerError, NewCall};
use metrics::ModelMeter;
use std::time::Instant;
use store::{Closed, Outcome, Store};
use tokio::sync::mpsc;

/// When a model call was asked for, or when its answer had passed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen {
    Opened(Instant),
    Closed(Instant),
}

/// Hears of every model call as it happens: what `hostler bench` measures by.
pub(crate) type Observer = mpsc::UnboundedSender<Seen>;

pub(crate) struct StoreLedger {
    store: Store,
    observer: Option<Observer>,
    meter: ModelMeter,
}

impl StoreLedger {
    pub(crate) fn new(store: Store, observer: Option<Observer>, meter: ModelMeter) -> Self {
        Self {
            store,
            observer,
            meter,
        }
    }

    fn tell(&self, seen: Seen) {
        if let Some(observer) = &self.observer {
            // Whoever stopped listening has seen enough.
            observer.send(seen).ok();
        }
    }
}

fn refused(error: &store::Error) -> LedgerError {
    LedgerError {
        reason: error.to_string(),
    }
}

#[async_trait]
impl Ledger for StoreLedger {
    async fn open(&self, call: &NewCall) -> Result<CallId, LedgerError> {
        self.tell(Seen::Opened(Instant::now()));
        if let Some(waited) = call.waited {
            self.meter.first_request(waited);
        }
        let call = store::NewCall {
            session: call.session_id.clone(),
            model: call.model.clone(),
            stream: call.stream,
            request_bytes: call.request_bytes,
            started_at: call.started_at,
        };
        self.store
            .open_model_call(call)
            .await
            .map(|id| CallId(id.0))
            .map_err(|error| refused(&error))
    }

    async fn close(&self, id: CallId, outcome: &CallOutcome) -> Result<(), LedgerError> {
        self.tell(Seen::Closed(Instant::now()));
        let ended = outcome.ended.as_str();
        self.meter
            .ended(ended, outcome.duration, &outcome.usage, outcome.cost);
        let closed = Closed {
            outcome: match outcome.ended {
                Ended::Completed => Outcome::Completed,
                Ended::Refused => Outcome::Refused,
                Ended::CutByUpstream => Outcome::CutByUpstream,
                Ended::CutByClient => Outcome::CutByClient,
                Ended::Unreachable => Outcome::Unreachable,
                Ended::Stopped => Outcome::Stopped,
            },
            status: outcome.status,
            model: outcome.model.clone(),
            usage: outcome.usage,
            estimated: outcome.estimated,
            cost: outcome.cost,
            attempts: outcome.attempts,
            request_id: outcome.request_id.clone(),
            first_byte: outcome.first_byte,
            duration: outcome.duration,
        };
        self.store
            .close_model_call(store::CallId(id.0), closed)
            .await
            .map_err(|error| refused(&error))
    }
}
