//! What another owner of a session, which is gone, left under way in the store.

use crate::asks::Answer;
use crate::owner::Kept;
use crate::place::Address;
use crate::sessions::Parts;
use crate::settings::Lifetime;
use domain::{EventId, SandboxState};
use std::collections::BTreeMap;
use store::{Query, Session};
use translate::message;

const PAGE: u32 = 512;

/// A turn that another owner began, and the sandbox that it had.
pub(crate) async fn read(
    parts: &Parts,
    row: &Session,
) -> Result<(Option<Kept>, Option<Address>), store::Error> {
    if parts.settings.lifetime == Lifetime::Host {
        return Ok((None, None));
    }
    let turn = row.turn.as_deref().map(serde_json::from_str).transpose();
    let turn = turn.map_err(|error| store::Error::Corrupt {
        what: format!("the turn of session {}", row.id),
        reason: error.to_string(),
    })?;
    let Some(sandbox) = &row.sandbox else {
        return Ok((with_answers(parts, row, turn).await?, None));
    };
    let recorded = parts.store.sandboxes_of(&row.id).await?;
    let recorded = recorded.into_iter().find(|recorded| recorded.id == *sandbox);
    let left = recorded.filter(|recorded| recorded.state != SandboxState::Destroyed);
    let left = left.and_then(|recorded| {
        Some(Address {
            sandbox: recorded.id,
            token: recorded.token?,
            state: recorded.state,
        })
    });
    Ok((with_answers(parts, row, turn).await?, left))
}

/// The answers to a turn's calls stand in the log, with what their operator added right after them.
async fn with_answers(
    parts: &Parts,
    row: &Session,
    turn: Option<Kept>,
) -> Result<Option<Kept>, store::Error> {
    let Some(mut turn) = turn else { return Ok(None) };
    let types = [
        "user.tool_confirmation",
        "user.custom_tool_result",
        "system.message",
    ]
    .map(str::to_owned);
    let mut answers: BTreeMap<EventId, Answer> = BTreeMap::new();
    let mut before: Option<(u64, EventId)> = None;
    let mut after = 0;
    loop {
        let query = Query {
            after,
            limit: PAGE,
            types: &types,
        };
        let page = parts.store.events(&row.id, query).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for logged in &page {
            let last = before.take().filter(|(seq, _)| seq + 1 == logged.seq);
            if let Some((id, answer)) = Answer::of_event(&logged.event.body) {
                answers.insert(id.clone(), answer);
                before = Some((logged.seq, id.clone()));
            } else if let Some((_, id)) = last {
                let notes = message::notes_of(&logged.event);
                answers
                    .entry(id)
                    .and_modify(|answer| *answer = answer.clone().noted(&notes));
            }
        }
    }
    turn.read_back(answers);
    Ok(Some(turn))
}
