//! The tool calls of one reply: all asked about at once, run in their order, answered as they end.
//!
//! ```text
//!   call 1  ask ......... run ----- result        what runs on this machine waits for its permission and its place:
//!   call 2  ask ..................... run - result   neighbours that are safe together run together, others alone
//!   call 3  ask .. tools/call ................ result   what runs elsewhere waits for its permission alone
//! ```

use super::perform::{Performed, perform};
use super::{End, Turn};
use crate::aside::Spending;
use crate::run::Signal;
use crate::session::{Runner, Session};
use crate::transcript::Body;
use agent_tools::Concurrency;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use stream_json::{Block, Content, Role, User, UserMessage};
use tokio_util::sync::CancellationToken;

/// One `tool_use` of a reply.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
    /// The transcript's line of the call.
    pub(crate) line: String,
    /// Why the input could not be read.
    pub(crate) bad_input: Option<String>,
    /// The reply ended at the output limit inside this call.
    pub(crate) was_cut_off: bool,
}

/// Where a call runs, and so what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On this machine, alone.
    Alone,
    /// On this machine, beside others like it.
    Beside,
    Elsewhere,
}

impl Turn<'_> {
    /// Runs all calls; how the turn ends if it ends here.
    pub(super) async fn run_calls(&mut self, calls: Vec<Call>) -> Option<End> {
        let session = self.session;
        // Cancelled by an interrupt, and by a host that says no and stop.
        let stop = self.token.child_token();
        let places: Vec<Place> = calls.iter().map(|call| place(session, call)).collect();
        let ended: Vec<CancellationToken> = calls.iter().map(|_| CancellationToken::new()).collect();
        let mut running: FuturesUnordered<_> = calls
            .iter()
            .enumerate()
            .map(|(index, call)| {
                let before = before(&places, index)
                    .map(|earlier| ended[earlier].clone())
                    .collect();
                let stop = stop.clone();
                async move { (index, perform(session, call, before, stop).await) }
            })
            .collect();
        let mut stops = false;
        while let Some((index, performed)) = running.next().await {
            if performed.stops {
                stops = true;
                stop.cancel();
            }
            // A process that is told to end leaves open what had not begun: whoever resumes the session decides.
            let is_left = performed.is_open && session.signal.get() == Some(Signal::Terminate);
            if !is_left {
                self.answer(&calls[index], performed).await;
            }
            ended[index].cancel();
        }
        let ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
        self.work.conversation.order_results(&ids);
        (stops || self.token.is_cancelled()).then_some(End::Interrupted { in_tools: true })
    }

    /// Writes a result down, shows it, and puts it into the conversation.
    pub(super) async fn answer(&mut self, call: &Call, performed: Performed) {
        self.denials.extend(performed.denial);
        for Spending {
            model,
            usage,
            api_time,
        } in performed.spent
        {
            self.work.account.book(&model, &usage);
            self.work.account.api_time += api_time;
        }
        let block = Block::tool_result(call.id.clone(), performed.content, performed.is_error);
        let content = Content::Blocks(vec![block.clone()]);
        let uuid = self.work.transcript.append(Body::User {
            message: UserMessage {
                role: Role::User,
                content: content.clone(),
            },
            tool_use_result: Some(performed.result.clone()),
            source: Some(call.line.clone()),
            is_meta: false,
            is_compact_summary: false,
        });
        let mut user = User::new(content);
        user.uuid = Some(uuid);
        user.tool_use_result = Some(performed.result);
        user.timestamp = Some(crate::clock::timestamp());
        self.session.output.user(user).await;
        self.work.conversation.push(Role::User, [block]);
    }
}

fn place(session: &Session, call: &Call) -> Place {
    match session.tool(&call.name) {
        None => Place::Beside,
        Some(tool) => match (&tool.runner, tool.concurrency) {
            (Runner::Server(_) | Runner::Web(_), _) => Place::Elsewhere,
            (Runner::Toolbox, Concurrency::Safe) => Place::Beside,
            (Runner::Toolbox, Concurrency::Exclusive) => Place::Alone,
        },
    }
}

/// The earlier calls that must have ended before this one runs.
fn before(places: &[Place], index: usize) -> impl Iterator<Item = usize> {
    let own = places[index];
    (0..index).filter(move |&earlier| match (places[earlier], own) {
        (Place::Elsewhere, _) | (_, Place::Elsewhere) | (Place::Beside, Place::Beside) => false,
        (Place::Alone, _) | (_, Place::Alone) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_waits_for_the_earlier_ones_that_it_must_not_run_beside() {
        use Place::{Alone, Beside, Elsewhere};
        let places = [Beside, Beside, Elsewhere, Alone, Beside, Elsewhere, Alone];
        let expected: [&[usize]; 7] = [&[], &[], &[], &[0, 1], &[3], &[], &[0, 1, 3, 4]];
        for (index, expected) in expected.iter().enumerate() {
            assert_eq!(
                before(&places, index).collect::<Vec<_>>(),
                *expected,
                "call {index}"
            );
        }
    }
}
