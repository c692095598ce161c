//! What a server's session waits for, found without reading its whole log.

use super::place::unreadable;
use crate::entry::Entry;
use crate::reach::Server;
use crate::render::waiting::Waiting;
use client::{ClientError, EventQuery};
use domain::SessionId;
use wire::page::Order;

/// Calls that wait are the last ones that were made.
const CALLS: usize = 100;
const PAGES: usize = 10;

pub(super) async fn waits(server: &Server, session: &SessionId) -> Result<Waiting, ClientError> {
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
) -> Result<(Vec<Entry>, Option<String>), ClientError> {
    let query = EventQuery {
        types: types.iter().map(|&kind| kind.to_owned()).collect(),
        order: Order::Desc,
        limit,
    };
    let page = server.client.events(session, &query, page).await?;
    let entries: Result<_, _> = page.data.iter().map(|raw| Entry::of_json(raw.get())).collect();
    Ok((entries.map_err(|error| unreadable(&error))?, page.next_page))
}
