//! What a server's session waits for, found without reading its whole log.

use super::place::{refused, unread};
use crate::entry::Entry;
use crate::failure::Failure;
use crate::reach::Server;
use crate::render::waiting::Waiting;
use client::EventQuery;
use domain::SessionId;
use wire::page::Order;

/// Calls that wait are the last ones that were made.
const CALLS: usize = 100;
const PAGES: usize = 10;

pub(super) async fn waits(server: &Server, session: &SessionId) -> Result<Waiting, Failure> {
    let mut waiting = Waiting::default();
    let standing = newest(
        server,
        session,
        &[
            "session.status_idle",
            "session.status_running",
            "session.status_rescheduled",
            "session.status_terminated",
        ],
        (1, None),
    );
    let (standing, _) = standing.await?;
    let Some(standing) = standing.first().and_then(|entry| entry.event.as_ref()) else {
        return Ok(waiting);
    };
    waiting.take(standing);
    let mut missing = waiting.ids().to_vec();
    let mut cursor = None;
    for _ in 0..PAGES {
        if missing.is_empty() {
            break;
        }
        let types = ["agent.tool_use", "agent.custom_tool_use"];
        let (calls, next) = newest(server, session, &types, (CALLS, cursor.as_deref())).await?;
        for event in calls.iter().filter_map(|entry| entry.event.as_ref()) {
            if missing.contains(&event.id) {
                missing.retain(|id| *id != event.id);
                waiting.take(event);
            }
        }
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    Ok(waiting)
}

async fn newest(
    server: &Server,
    session: &SessionId,
    types: &[&str],
    (limit, page): (usize, Option<&str>),
) -> Result<(Vec<Entry>, Option<String>), Failure> {
    let query = EventQuery {
        types: types.iter().map(|&kind| kind.to_owned()).collect(),
        order: Order::Desc,
        limit,
    };
    let page = server.client.events(session, &query, page).await;
    let page = page.map_err(|error| refused(server, error))?;
    let entries: Result<_, _> = page.data.iter().map(|raw| Entry::of_json(raw.get())).collect();
    let entries = entries.map_err(|error| unread(server, &error))?;
    Ok((entries, page.next_page))
}
