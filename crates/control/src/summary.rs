//! What a session came to: read from its log and from the ledger of model calls.

use crate::Idle;
use domain::{Cost, SessionId, SessionStatus, Usage};
use std::time::Duration;
use store::{EventFilter, LoggedEvent, Query, Session, Store};
use wire::page::Order;
use wire::{Body, ContentBlock, RetryStatus, SessionError, StopReason};

const PAGE: u32 = 512;

#[derive(Debug, Clone)]
pub struct Summary {
    pub status: SessionStatus,
    /// Why it stopped last; nothing while it works or before it has.
    pub stop_reason: Option<StopReason>,
    /// The agent's last text of the last turn.
    pub result_text: Option<String>,
    /// What ended the last turn before it was done.
    pub error: Option<SessionError>,
    pub usage: Usage,
    /// Nothing where a model without a list price was used.
    pub list_cost: Option<Cost>,
    /// Model requests of all turns.
    pub turns: u64,
    /// Time in which the session was running.
    pub duration: Duration,
}

impl Summary {
    /// Of a session that nobody runs.
    pub async fn of(store: &Store, id: &SessionId) -> Result<Self, store::Error> {
        read(store, id).await
    }
}

pub(crate) async fn read(store: &Store, id: &SessionId) -> Result<Summary, store::Error> {
    let row = store.session(id).await?;
    let idle = idle(store, &row).await?;
    let (result_text, sums, turns, duration) = tokio::try_join!(
        result_text(store, &row, idle.stop_reason.as_ref()),
        store.model_call_sums(id),
        store.event_count(id, "span.model_request_start"),
        active(store, id),
    )?;
    Ok(Summary {
        status: row.status,
        stop_reason: idle.stop_reason,
        result_text,
        error: idle.error,
        usage: sums.usage,
        list_cost: sums.list_cost(),
        turns,
        duration,
    })
}

/// Why the session stopped last, and what went wrong in its last turn.
pub(crate) async fn idle(store: &Store, row: &Session) -> Result<Idle, store::Error> {
    let terminated = row.status == SessionStatus::Terminated;
    if row.status != SessionStatus::Idle {
        return Ok(Idle {
            terminated,
            ..Idle::default()
        });
    }
    let stopped = store.last_event(&row.id, "session.status_idle").await?;
    let stop_reason = stopped.and_then(|logged| match logged.event.body {
        Body::SessionStatusIdle { stop_reason, .. } => Some(stop_reason),
        _ => None,
    });
    let began = turn_began(store, row, stop_reason.as_ref()).await?;
    let error = store
        .last_event(&row.id, "session.error")
        .await?
        .filter(|logged| logged.seq > began);
    let error = error.and_then(|logged| match logged.event.body {
        Body::SessionError { error } if error.retry_status != RetryStatus::Retrying => Some(error),
        _ => None,
    });
    Ok(Idle {
        stop_reason,
        error,
        terminated,
    })
}

/// The number of an event that is before everything of the last turn, and after the turn before it. Each turn ends with
/// what the session has used.
async fn turn_began(
    store: &Store,
    row: &Session,
    stop_reason: Option<&StopReason>,
) -> Result<u64, store::Error> {
    let filter = EventFilter {
        types: vec!["session.usage".to_owned()],
        from: None,
        to: None,
        order: Order::Desc,
        after: None,
        limit: 2,
    };
    let (ends, _) = store.event_page(&row.id, &filter).await?;
    let is_over = match row.status {
        SessionStatus::Running | SessionStatus::Rescheduling => false,
        SessionStatus::Idle | SessionStatus::Terminated => {
            !matches!(stop_reason, Some(StopReason::RequiresAction { .. }))
        }
    };
    Ok(ends.get(usize::from(is_over)).map_or(0, |logged| logged.seq))
}

async fn result_text(
    store: &Store,
    row: &Session,
    stop_reason: Option<&StopReason>,
) -> Result<Option<String>, store::Error> {
    let began = turn_began(store, row, stop_reason).await?;
    let last = store
        .last_event(&row.id, "agent.message")
        .await?
        .filter(|logged| logged.seq > began);
    Ok(last.and_then(|logged| match logged.event.body {
        Body::AgentMessage { content } => Some(
            content
                .iter()
                .filter_map(ContentBlock::as_text)
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        _ => None,
    }))
}

/// Time in which the session was running: from each start to the stop after it. A turn that is under way, or that was
/// cut, counts up to the last event.
pub async fn active(store: &Store, id: &SessionId) -> Result<Duration, store::Error> {
    let types = [
        "session.status_running",
        "session.status_idle",
        "session.status_terminated",
    ]
    .map(str::to_owned);
    let (mut after, mut active) = (0, time::Duration::ZERO);
    let mut began: Option<LoggedEvent> = None;
    loop {
        let page = store
            .events(
                id,
                Query {
                    after,
                    limit: PAGE,
                    types: &types,
                },
            )
            .await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for logged in page {
            match (&logged.event.body, &began) {
                (Body::SessionStatusRunning, None) => began = Some(logged),
                (Body::SessionStatusRunning, Some(_)) | (_, None) => {}
                (_, Some(start)) => {
                    active += logged.created_at - start.created_at;
                    began = None;
                }
            }
        }
    }
    if let Some(start) = began {
        let last_seq = store.session(id).await?.last_seq;
        let last = store
            .events(
                id,
                Query {
                    after: last_seq.saturating_sub(1),
                    limit: 1,
                    types: &[],
                },
            )
            .await?;
        active += last
            .first()
            .map_or(time::Duration::ZERO, |last| last.created_at - start.created_at);
    }
    Ok(Duration::try_from(active).unwrap_or_default())
}
