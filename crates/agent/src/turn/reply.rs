//! One reply of the model: streamed, shown block by block, retried as a whole.
//!
//! A block's line is on disk before its frame is sent. When a stream breaks off after blocks were shown, the next
//! attempt's frames name them in `supersedes` and its lines branch off before them.

use super::{Call, Turn};
use crate::model::{
    CallError, CallHeaders, Finished, Reply, Request, Retries, Step, ToolDefinition, cache_control,
};
use crate::servers::Address;
use crate::session::{Runner, Session};
use crate::transcript::Body;
use bytes::Bytes;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Instant;
use stream_json::{ApiMessage, ApiRetry, Assistant, Block, Extra, Frame, Role, SystemEvent};
use tokio_util::sync::CancellationToken;

/// A reply that is complete.
pub(crate) struct Answer {
    pub(crate) calls: Vec<Call>,
    /// The last text block.
    pub(crate) text: String,
    pub(crate) stop_reason: Option<String>,
}

/// A block that was shown.
struct Shown {
    finished: Finished,
    uuid: String,
}

/// What one attempt has got so far; it outlives the attempt's failure.
#[derive(Default)]
struct Attempt {
    reply: Reply,
    shown: Vec<Shown>,
    request_id: Option<String>,
    superseded: Vec<String>,
}

pub(crate) async fn guarded<T>(
    token: &CancellationToken,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::select! {
        biased;
        () = token.cancelled() => Err(CallError::Interrupted),
        result = work => result,
    }
}

/// Waits for the next attempt, or gives the error back when there is none.
pub(crate) async fn wait_to_retry(
    session: &Session,
    token: &CancellationToken,
    retries: &mut Retries,
    error: CallError,
) -> Result<(), CallError> {
    let Some(delay) = retries.next(&error, crate::model::random_fraction()) else {
        return Err(error);
    };
    session
        .output
        .system(SystemEvent::ApiRetry(ApiRetry {
            attempt: retries.attempt,
            max_retries: retries.limit,
            retry_delay_ms: delay.as_millis() as u64,
            error_status: error.status(),
            error: error.class().to_owned(),
        }))
        .await;
    guarded(token, async {
        tokio::time::sleep(delay).await;
        Ok(())
    })
    .await
}

impl Turn<'_> {
    /// Asks for the next reply, shows it, and puts it into the conversation.
    pub(crate) async fn ask_model(&mut self) -> Result<Answer, CallError> {
        let tools = self.session.tool_definitions();
        let mut retries = self.retries();
        let mut superseded = Vec::new();
        loop {
            let before = self.work.transcript.leaf().map(str::to_owned);
            let mut attempt = Attempt {
                superseded: std::mem::take(&mut superseded),
                ..Attempt::default()
            };
            let call = self.prepare(&tools, false)?;
            if self.session.options.partial_messages {
                self.session.output.status(Some("requesting")).await;
            }
            let sent = Instant::now();
            let result = self.attempt(&mut attempt, call, retries.attempt).await;
            self.work.account.api_time += sent.elapsed();
            self.book(&attempt.reply);
            match result {
                Ok(()) => return Ok(self.keep(attempt)),
                Err(CallError::Interrupted) => {
                    self.keep_what_was_said(attempt).await;
                    return Err(CallError::Interrupted);
                }
                Err(error) => {
                    self.work.transcript.rewind(before);
                    superseded.extend(attempt.superseded);
                    superseded.extend(attempt.shown.into_iter().map(|shown| shown.uuid));
                    wait_to_retry(self.session, &self.token, &mut retries, error).await?;
                }
            }
        }
    }

    pub(crate) fn retries(&self) -> Retries {
        Retries::new(
            self.session.environment.max_retries,
            self.session.environment.first_retry_delay,
        )
    }

    /// The head and body of a call of the session as it is now.
    pub(crate) fn prepare(
        &self,
        tools: &[ToolDefinition],
        forbids_tools: bool,
    ) -> Result<(CallHeaders, Bytes), CallError> {
        let live = self.session.live.borrow();
        let environment = &self.session.environment;
        let cache = environment
            .caches_prompts
            .then(|| cache_control(environment.caches_for_an_hour));
        let request = Request {
            model: &live.model,
            max_tokens: self.session.max_output_tokens(),
            system: &live.system,
            tools,
            server_tools: &[],
            conversation: &self.work.conversation,
            thinking: live.thinking,
            effort: self.session.options.effort.as_deref(),
            task_budget: self.session.options.task_budget,
            cache: cache.as_ref(),
            session_id: &self.session.id(),
            forbids_tools,
        };
        let body = request.body().map_err(|error| CallError::Malformed {
            message: error.to_string(),
        })?;
        Ok((request.headers(), Bytes::from(body)))
    }

    async fn attempt(
        &mut self,
        attempt: &mut Attempt,
        (headers, body): (CallHeaders, Bytes),
        number: u32,
    ) -> Result<(), CallError> {
        let sent = Instant::now();
        let mut events = guarded(&self.token, self.session.client.send(&headers, body, number)).await?;
        attempt.request_id = events.request_id.take();
        loop {
            let Some(data) = guarded(&self.token, events.next()).await? else {
                return Err(CallError::Dropped {
                    message: "it ended before message_stop".to_owned(),
                });
            };
            let step = attempt.reply.take(&data)?;
            let mut ttft = None;
            let mut is_done = false;
            match step {
                Step::Ping => continue,
                Step::Nothing => {}
                Step::Started => ttft = Some(sent.elapsed().as_millis() as u64),
                Step::Block(finished) => self.show(attempt, finished).await,
                Step::Done => is_done = true,
            }
            if self.session.options.partial_messages
                && let Ok(event) = serde_json::from_slice(&data)
            {
                self.session.output.stream_event(event, ttft).await;
            }
            if is_done {
                return Ok(());
            }
        }
    }

    /// Writes a block down, then shows it.
    async fn show(&mut self, attempt: &mut Attempt, finished: Finished) {
        let reply = &attempt.reply;
        let mut extra = Extra::new();
        extra.insert("context_management".to_owned(), Value::Null);
        let message = ApiMessage {
            id: reply.id.clone(),
            kind: "message".to_owned(),
            role: Role::Assistant,
            model: reply.model.clone(),
            content: vec![finished.block.clone()],
            stop_reason: None,
            stop_sequence: None,
            usage: reply.usage.clone(),
            extra,
        };
        let uuid = self.work.transcript.append(Body::Assistant {
            message: message.clone(),
            request_id: attempt.request_id.clone(),
            is_api_error_message: false,
        });
        let mut extra = Extra::new();
        if !attempt.superseded.is_empty() {
            extra.insert(
                "supersedes".to_owned(),
                json!(std::mem::take(&mut attempt.superseded)),
            );
        }
        if let Block::ToolUse { id, name, .. } = &finished.block
            && let Some(meta) = self.server_tool_meta(id, name)
        {
            extra.insert("tool_use_meta".to_owned(), json!([meta]));
        }
        self.send_assistant(message, uuid.clone(), attempt.request_id.clone(), extra)
            .await;
        attempt.shown.push(Shown { finished, uuid });
    }

    /// What a tool of an MCP server is called outside the model's view.
    fn server_tool_meta(&self, id: &str, name: &str) -> Option<Value> {
        match &self.session.tool(name)?.runner {
            Runner::Server(Address { server, tool }) => Some(json!({
                "id": id,
                "display_name": tool,
                "server_display_name": server,
                "tool_name": tool,
            })),
            Runner::Toolbox | Runner::Web(_) => None,
        }
    }

    pub(super) async fn send_assistant(
        &self,
        message: ApiMessage,
        uuid: String,
        request_id: Option<String>,
        extra: Extra,
    ) {
        let frame = Assistant {
            message,
            parent_tool_use_id: None,
            session_id: self.session.id(),
            uuid,
            error: None,
            timestamp: Some(crate::clock::timestamp()),
            request_id,
            extra,
        };
        self.session.output.send(Frame::Assistant(Box::new(frame))).await;
    }

    fn book(&mut self, reply: &Reply) {
        if reply.has_started() {
            let model = if reply.model.is_empty() {
                self.session.model()
            } else {
                reply.model.clone()
            };
            self.work.account.book(&model, &reply.usage);
        }
    }

    fn keep(&mut self, attempt: Attempt) -> Answer {
        self.work.account.note_context(&attempt.reply.usage);
        self.session.context_tokens.set(self.work.account.context_tokens);
        let text = attempt
            .shown
            .iter()
            .rev()
            .find_map(|shown| shown.finished.block.as_text())
            .unwrap_or_default();
        let text = text.to_owned();
        let was_cut_off = attempt.reply.stop_reason.as_deref() == Some("max_tokens");
        let last = attempt.shown.len().saturating_sub(1);
        let mut calls = Vec::new();
        for (index, shown) in attempt.shown.iter().enumerate() {
            if let Block::ToolUse { id, name, input, .. } = &shown.finished.block {
                calls.push(Call {
                    id: id.clone(),
                    name: name.clone(),
                    input: input.clone(),
                    line: shown.uuid.clone(),
                    bad_input: shown.finished.bad_input.clone(),
                    was_cut_off: was_cut_off && index == last,
                });
            }
        }
        let blocks = attempt.shown.into_iter().map(|shown| shown.finished.block);
        self.work.conversation.push(Role::Assistant, blocks);
        Answer {
            calls,
            text,
            stop_reason: attempt.reply.stop_reason,
        }
    }

    /// Keeps the blocks of a reply that was interrupted, and the text of the one that was cut off.
    async fn keep_what_was_said(&mut self, mut attempt: Attempt) {
        if let Some(block) = attempt.reply.cut_off_text() {
            self.show(
                &mut attempt,
                Finished {
                    block,
                    bad_input: None,
                },
            )
            .await;
        }
        let blocks = attempt.shown.into_iter().map(|shown| shown.finished.block);
        self.work.conversation.push(Role::Assistant, blocks);
    }
}
