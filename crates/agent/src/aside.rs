//! A call of the model beside the conversation: one question, no tools of ours, nothing of the history. What it used is
//! handed back, to be counted with the rest.

use crate::conversation::Conversation;
use crate::model::{CallError, Finished, Reply, Request, Retries, Step, Thinking};
use crate::session::Session;
use crate::turn::{guarded, wait_to_retry};
use bytes::Bytes;
use serde_json::Value;
use std::time::{Duration, Instant};
use stream_json::{Block, Role, Usage};
use tokio_util::sync::CancellationToken;

/// An answer to one question is short.
const MAX_TOKENS: u64 = 8_192;

/// How often a reply that the API paused is gone on with.
const MAX_PAUSES: usize = 4;

pub(crate) struct Question<'a> {
    pub(crate) model: &'a str,
    pub(crate) system: &'a str,
    pub(crate) prompt: String,
    /// Tools that the API runs itself.
    pub(crate) server_tools: Vec<Value>,
}

/// What one attempt used.
#[derive(Debug, Clone)]
pub(crate) struct Spending {
    pub(crate) model: String,
    pub(crate) usage: Usage,
    pub(crate) api_time: Duration,
}

pub(crate) struct Answered {
    pub(crate) blocks: Result<Vec<Block>, CallError>,
    /// Also of attempts that failed.
    pub(crate) spent: Vec<Spending>,
}

pub(crate) async fn ask(session: &Session, question: Question<'_>, token: &CancellationToken) -> Answered {
    let mut spent = Vec::new();
    let blocks = converse(session, &question, token, &mut spent).await;
    Answered { blocks, spent }
}

async fn converse(
    session: &Session,
    question: &Question<'_>,
    token: &CancellationToken,
    spent: &mut Vec<Spending>,
) -> Result<Vec<Block>, CallError> {
    let mut conversation = Conversation::default();
    conversation.push(Role::User, [Block::text(question.prompt.clone())]);
    let mut blocks = Vec::new();
    for _ in 0..=MAX_PAUSES {
        let mut retries = Retries::new(
            session.environment.max_retries,
            session.environment.first_retry_delay,
        );
        let (said, reply) = loop {
            match attempt(session, question, &conversation, (token, retries.attempt), spent).await {
                Ok(said) => break said,
                Err(error) => wait_to_retry(session, token, &mut retries, error).await?,
            }
        };
        blocks.extend(said.iter().cloned());
        if reply.stop_reason.as_deref() != Some("pause_turn") {
            break;
        }
        conversation.push(Role::Assistant, said);
    }
    Ok(blocks)
}

async fn attempt(
    session: &Session,
    question: &Question<'_>,
    conversation: &Conversation,
    (token, number): (&CancellationToken, u32),
    spent: &mut Vec<Spending>,
) -> Result<(Vec<Block>, Reply), CallError> {
    let request = Request {
        model: question.model,
        max_tokens: MAX_TOKENS.min(session.max_output_tokens()),
        system: &[question.system.to_owned()],
        tools: &[],
        server_tools: &question.server_tools,
        conversation,
        thinking: Thinking::Unset,
        effort: None,
        task_budget: None,
        cache: None,
        session_id: &session.id(),
        forbids_tools: false,
    };
    let body = request.body().map_err(|error| CallError::Malformed {
        message: error.to_string(),
    })?;
    let begun = Instant::now();
    let mut reply = Reply::default();
    let mut blocks = Vec::new();
    let read = async {
        let mut events = session
            .client
            .send(&request.headers(), Bytes::from(body), number)
            .await?;
        while let Some(data) = events.next().await? {
            match reply.take(&data)? {
                Step::Block(Finished { block, .. }) => blocks.push(block),
                Step::Done => return Ok(()),
                Step::Started | Step::Nothing | Step::Ping => {}
            }
        }
        Err(CallError::Dropped {
            message: "it ended before message_stop".to_owned(),
        })
    };
    let result = guarded(token, read).await;
    if reply.has_started() {
        spent.push(Spending {
            model: if reply.model.is_empty() {
                question.model.to_owned()
            } else {
                reply.model.clone()
            },
            usage: reply.usage.clone(),
            api_time: begun.elapsed(),
        });
    }
    result.map(|()| (blocks, reply))
}
