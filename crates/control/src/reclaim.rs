//! What a dead instance left behind: its sandboxes are destroyed, its open model calls and turns are cut, and each
//! session's log says so. Called by the holder of the data directory's lock, so whoever left it is dead.
//!
//! What cannot be taken away now is told and tried again by the next start; it keeps nobody from starting.

use crate::conclusion::Conclusion;
use crate::events::Item;
use crate::hub::Hub;
use crate::owner::sandbox_lost;
use crate::sessions::Parts;
use crate::{Idle, StartError, place, summary};
use domain::{EventId, SandboxId, SessionStatus};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeSet;
use store::{Append, Query, Sandbox, Session, Store};
use time::OffsetDateTime;
use wire::{Body, Event, ModelUsage, SessionUsage};

const AT_ONCE: usize = 16;
const PAGE: u32 = 512;
/// Events that open something, or end it.
const TYPES: [&str; 4] = [
    "agent.tool_use",
    "agent.tool_result",
    "span.model_request_start",
    "span.model_request_end",
];

pub(crate) async fn reclaim(parts: &Parts) -> Result<(), StartError> {
    let cut_calls = parts.store.cut_calls_of_dead_instances().await?;
    let sandboxes = parts.store.sandboxes_left_behind().await?;
    let sessions = parts.store.sessions_left_running().await?;
    if cut_calls > 0 || !sandboxes.is_empty() || !sessions.is_empty() {
        let (sandboxes, sessions) = (sandboxes.len(), sessions.len());
        tracing::info!(
            cut_calls,
            sandboxes,
            sessions,
            "an earlier hostler was cut: taking over what it left"
        );
    }
    let destroyed: Vec<_> = sandboxes
        .iter()
        .map(|sandbox| place::destroy(parts, &sandbox.id))
        .collect();
    let ended = futures_util::stream::iter(destroyed)
        .buffer_unordered(AT_ONCE)
        .for_each(|failures| {
            place::tell(&failures);
            std::future::ready(())
        });
    let logged = async {
        for session in &sessions {
            let hub = Hub::new(session.last_seq, false);
            cut(&parts.store, session, &hub).await?;
        }
        Ok(())
    };
    tokio::join!(ended, logged).1
}

/// What an instance before this one left, where sessions outlive it: sandboxes that are nobody's any more are destroyed,
/// those that are gone are recorded as such, and the sessions are answered that have something under way.
pub(crate) async fn survey(parts: &Parts) -> Result<Vec<Session>, StartError> {
    parts.store.cut_calls_of_dead_instances().await?;
    let there: BTreeSet<SandboxId> = parts.backend.survivors().await?.into_iter().collect();
    let recorded = parts.store.sandboxes_alive().await?;
    let mut sessions = parts.store.sessions_under_way().await?;
    let mut kept = BTreeSet::new();
    for sandbox in recorded.iter().filter(|sandbox| there.contains(&sandbox.id)) {
        let row = parts.store.session(&sandbox.session).await?;
        if row.sandbox.as_ref() == Some(&sandbox.id) && row.status != SessionStatus::Terminated {
            kept.insert(sandbox.id.clone());
            if !sessions.iter().any(|session| session.id == row.id) {
                sessions.push(row);
            }
        }
    }
    let lost = recorded.iter().filter(|sandbox| !there.contains(&sandbox.id));
    let lost: Vec<_> = lost
        .filter(|sandbox| !sessions.iter().any(|session| session.id == sandbox.session))
        .map(|sandbox| tell_of_loss(parts, sandbox).boxed())
        .collect();
    futures_util::stream::iter(lost)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let spare = parts.store.spare_sandboxes().await?;
    let gone = recorded.into_iter().map(|sandbox| sandbox.id);
    let ended = gone
        .chain(there)
        .filter(|id| !kept.contains(id) && !spare.contains(id));
    let ended: BTreeSet<SandboxId> = ended.collect();
    tracing::info!(
        sandboxes = kept.len(),
        ended = ended.len(),
        sessions = sessions.len(),
        "taking over what an earlier hostler left"
    );
    let destroyed = ended.iter().map(|id| place::destroy(parts, id).boxed());
    let discarded = spare.iter().map(|id| place::discard(parts, id).boxed());
    let all: Vec<_> = destroyed.chain(discarded).collect();
    futures_util::stream::iter(all)
        .buffer_unordered(AT_ONCE)
        .for_each(|failures| {
            place::tell(&failures);
            std::future::ready(())
        })
        .await;
    Ok(sessions)
}

/// Says in the log of a session that was not at work that the sandbox it had is gone.
async fn tell_of_loss(parts: &Parts, sandbox: &Sandbox) -> Result<(), store::Error> {
    let row = parts.store.session(&sandbox.session).await?;
    let takes_messages = row.archived_at.is_none() && row.status != SessionStatus::Terminated;
    if row.sandbox.as_ref() != Some(&sandbox.id) || !takes_messages {
        return Ok(());
    }
    let epoch = parts.store.claim_session(&row.id).await?;
    let event = Event::new(sandbox_lost(), OffsetDateTime::now_utc());
    parts.store.append(Append::new(row.id, epoch, [event])).await?;
    Ok(())
}

/// Claims a session that was left in the middle of a turn and ends the turn in its log.
pub(crate) async fn cut(store: &Store, session: &Session, hub: &Hub) -> Result<(u64, Idle), store::Error> {
    let epoch = store.claim_session(&session.id).await?;
    let open = open_ends(store, session).await?;
    let waiting = store.queued(&session.id).await?;
    let conclusion = Conclusion::broken(told(open.tools.len())).with_dropped(waiting.len());
    let mut bodies: Vec<Body> = open.tools.into_iter().map(translate::interrupted).collect();
    bodies.extend(
        open.requests
            .into_iter()
            .map(|model_request_start_id| Body::SpanModelRequestEnd {
                model_request_start_id,
                is_error: Some(true),
                model_usage: ModelUsage::default(),
            }),
    );
    bodies.extend(conclusion.error.clone().map(|error| Body::SessionError { error }));
    let sums = store.model_call_sums(&session.id).await?;
    let active = summary::active(store, &session.id).await?;
    let usage = SessionUsage::new(&sums.usage, sums.list_cost(), active.as_secs_f64());
    bodies.push(Body::SessionUsage { usage, budget: None });
    let stop_reason = conclusion.stop_reason.clone();
    bodies.push(Body::SessionStatusIdle {
        stop_reason,
        stop_details: None,
    });
    let now = OffsetDateTime::now_utc();
    let events = bodies.into_iter().map(|body| Event::new(body, now));
    let append = Append {
        status: Some(SessionStatus::Idle),
        processed: waiting,
        ..Append::new(session.id.clone(), epoch, events)
    };
    let appended = store.append(append).await?;
    hub.show(appended.events.into_iter().map(Item::from));
    let idle = Idle {
        stop_reason: Some(conclusion.stop_reason),
        error: conclusion.error,
        terminated: false,
    };
    Ok((epoch, idle))
}

fn told(tools: usize) -> String {
    let cut = "hostler was cut off while the agent was working: this turn ended, and with it the sandbox; what the \
               agent had changed stays with the session";
    let tools = if tools > 0 {
        format!("; {tools} tool calls have no result")
    } else {
        String::new()
    };
    format!("{cut}{tools}")
}

#[derive(Default)]
struct OpenEnds {
    tools: BTreeSet<EventId>,
    requests: BTreeSet<EventId>,
}

/// What the last turn began and did not end.
async fn open_ends(store: &Store, session: &Session) -> Result<OpenEnds, store::Error> {
    // A turn may become running more than once, and ends with what was used.
    let ended = store.last_event(&session.id, "session.usage").await?;
    let mut after = ended.map_or(0, |event| event.seq);
    let types = TYPES.map(str::to_owned);
    let mut open = OpenEnds::default();
    loop {
        let page = store
            .events(
                &session.id,
                Query {
                    after,
                    limit: PAGE,
                    types: &types,
                },
            )
            .await?;
        let Some(last) = page.last() else { return Ok(open) };
        after = last.seq;
        for logged in page {
            match logged.event.body {
                Body::AgentToolUse { .. } => open.tools.insert(logged.event.id),
                Body::AgentToolResult { tool_use_id, .. } => open.tools.remove(&tool_use_id),
                Body::SpanModelRequestStart => open.requests.insert(logged.event.id),
                Body::SpanModelRequestEnd {
                    model_request_start_id,
                    ..
                } => open.requests.remove(&model_request_start_id),
                _ => false,
            };
        }
    }
}
