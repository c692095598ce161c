//! One session at the gateway: its token, its budget, and what it has spent.
//!
//! A call's cost is added while its answer passes, so a call that is still running counts against the next one.

use crate::{OutsideReach, Secret};
use domain::{Cost, PriceTable, SessionId, Usage};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use traces::SessionTrace;

/// What a session may do.
pub struct SessionGrant {
    pub session_id: SessionId,
    /// What the sandbox shows in place of a key.
    pub token: String,
    /// Of the whole session; no call is made once it is reached.
    pub budget: Option<Cost>,
    /// By calls before this gateway served the session.
    pub already_spent: Cost,
    /// Since when somebody waits for the first call; nothing where it was made before.
    pub waiting_since: Option<Instant>,
    /// Where its calls are told.
    pub trace: SessionTrace,
    pub reach: OutsideReach,
}

pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) token: Secret,
    budget: Mutex<Option<Cost>>,
    spent: Mutex<Spent>,
    waiting_since: Mutex<Option<Instant>>,
    pub(crate) trace: SessionTrace,
    reach: Mutex<Arc<OutsideReach>>,
    /// A permit for each call that may run.
    pub(crate) calls: Arc<Semaphore>,
    /// The calls that do.
    pub(crate) tasks: TaskTracker,
    /// No new connection, no new request.
    pub(crate) closing: CancellationToken,
    /// Calls end now.
    pub(crate) stop: CancellationToken,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) cost: Cost,
    /// Since this gateway serves the session.
    pub(crate) usage: Usage,
}

impl Session {
    pub(crate) fn new(grant: SessionGrant, concurrent_calls: usize) -> Self {
        let spent = Spent {
            cost: grant.already_spent,
            usage: Usage::default(),
        };
        Self {
            id: grant.session_id,
            token: Secret::new(grant.token),
            budget: Mutex::new(grant.budget),
            spent: Mutex::new(spent),
            waiting_since: Mutex::new(grant.waiting_since),
            trace: grant.trace,
            reach: Mutex::new(Arc::new(grant.reach)),
            calls: Arc::new(Semaphore::new(concurrent_calls)),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(crate) fn budget(&self) -> Option<Cost> {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_budget(&self, budget: Option<Cost>) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = budget;
    }

    pub(crate) fn reach(&self) -> Arc<OutsideReach> {
        Arc::clone(&self.reach.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_web_search(&self, allowed: bool) {
        let mut reach = self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut reach).web_search = allowed;
    }

    /// From now on somebody waits for the first call.
    pub(crate) fn wait_since(&self, since: Instant) {
        *self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(since);
    }

    /// How long the session's first call was waited for; nothing for every other one.
    pub(crate) fn waited(&self) -> Option<Duration> {
        let mut since = self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.take().map(|since| since.elapsed())
    }

    pub(crate) fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one call is charged, updated as its answer passes.
pub(crate) struct Charge {
    session: Arc<Session>,
    prices: Arc<PriceTable>,
    requested_model: String,
    cost: Cost,
    usage: Usage,
}

impl Charge {
    pub(crate) fn new(session: Arc<Session>, prices: Arc<PriceTable>, requested_model: String) -> Self {
        Self {
            session,
            prices,
            requested_model,
            cost: Cost::ZERO,
            usage: Usage::default(),
        }
    }

    /// Charges the session what this call has used so far, in place of what it was charged before. The price is that
    /// of the model that answered, or of the requested one where the answer names none that has a price.
    pub(crate) fn update(&mut self, answering_model: Option<&str>, usage: Usage) -> Option<Cost> {
        let model = answering_model
            .and_then(|model| self.prices.model(model))
            .or_else(|| self.prices.model(&self.requested_model));
        let cost = model.map(|model| model.cost(&usage));
        let charged = cost.unwrap_or(Cost::ZERO);
        if usage != self.usage || charged != self.cost {
            let mut spent = self.session.spent.lock().unwrap_or_else(PoisonError::into_inner);
            let others = spent.cost.nano_usd.saturating_sub(self.cost.nano_usd);
            spent.cost = Cost::from_nano_usd(others) + charged;
            spent.usage = replace(spent.usage, self.usage, usage);
            (self.cost, self.usage) = (charged, usage);
        }
        cost
    }
}

fn replace(total: Usage, before: Usage, now: Usage) -> Usage {
    let number = |total: u64, before: u64, now: u64| total.saturating_sub(before).saturating_add(now);
    Usage {
        input_tokens: number(total.input_tokens, before.input_tokens, now.input_tokens),
        output_tokens: number(total.output_tokens, before.output_tokens, now.output_tokens),
        cache_read_input_tokens: number(
            total.cache_read_input_tokens,
            before.cache_read_input_tokens,
            now.cache_read_input_tokens,
        ),
        cache_creation_5m_input_tokens: number(
            total.cache_creation_5m_input_tokens,
            before.cache_creation_5m_input_tokens,
            now.cache_creation_5m_input_tokens,
        ),
        cache_creation_1h_input_tokens: number(
            total.cache_creation_1h_input_tokens,
            before.cache_creation_1h_input_tokens,
            now.cache_creation_1h_input_tokens,
        ),
        web_search_requests: number(
            total.web_search_requests,
            before.web_search_requests,
            now.web_search_requests,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_charged_as_they_grow_and_beside_each_other() {
        let grant = SessionGrant {
            session_id: SessionId::random(),
            token: "t".to_owned(),
            budget: None,
            already_spent: Cost::from_usd(1.0),
            waiting_since: None,
            trace: SessionTrace::default(),
            reach: OutsideReach::default(),
        };
        let session = Arc::new(Session::new(grant, 1));
        let prices = Arc::new(PriceTable::built_in().clone());
        let charge = || {
            Charge::new(
                Arc::clone(&session),
                Arc::clone(&prices),
                "claude-opus-5-5".to_owned(),
            )
        };
        let tokens = |output_tokens| Usage {
            output_tokens,
            ..Usage::default()
        };
        let (mut one, mut two) = (charge(), charge());
        one.update(None, tokens(1_000));
        two.update(Some("no-such-model"), tokens(500));
        one.update(Some("claude-haiku-5-5"), tokens(2_000));
        let spent = session.spent();
        assert_eq!(spent.usage.output_tokens, 2_500);
        assert_eq!(
            spent.cost,
            Cost::from_nano_usd(1_000_000_000 + 500 * 20_000 + 2_000 * 500)
        );
    }
}
