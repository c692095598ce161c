//! Compaction: the conversation replaced by the model's own summary of it, when the window fills or on `/compact`.

use crate::model::{CallError, CallHeaders, Reply, Step, ToolDefinition};
use crate::session::Session;
use crate::transcript::Body;
use crate::turn::{Turn, guarded, wait_to_retry};
use bytes::Bytes;
use serde_json::json;
use std::time::Instant;
use stream_json::{
    Block, CompactBoundary, CompactMetadata, Content, Extra, Role, SystemEvent, User, UserMessage,
};

/// Halvings of a conversation that is too long even to be summarised.
const MAX_HALVINGS: u32 = 3;

const INSTRUCTIONS: &str = "The conversation has to be shortened. Write a summary from which the work can go on without \
anything else of it. Say, under headings: what the user asked for, with every request of theirs in their own words; \
what was found out; which files were read, made or changed, with the parts of them that matter; errors met and how they were \
solved; what is done; what remains; and exactly what was being done last. Do not call tools. Answer with the summary alone.";

const PREFACE: &str = "This session goes on from an earlier conversation that no longer fits the context window. \
Its summary:\n\n";

const CODA: &str =
    "\n\nGo on from where it stopped, without asking the user anything that the summary answers.";

impl Turn<'_> {
    /// Replaces the conversation by its summary. On failure it stays as it was.
    pub(crate) async fn compact(&mut self, trigger: &str, wishes: Option<&str>) -> Result<(), CallError> {
        let started = Instant::now();
        self.session.output.status(Some("compacting")).await;
        let before = self.work.conversation.clone();
        let pre_tokens = match self.work.account.context_tokens {
            0 => before.estimated_tokens(),
            counted => counted,
        };
        let result = self.summarise(wishes).await;
        self.work.conversation = before;
        let (outcome, error) = match &result {
            Ok(_) => ("success", None),
            Err(error) => ("failed", Some(error.report())),
        };
        if let Ok(summary) = &result {
            self.begin_anew(summary, trigger, pre_tokens, started).await;
        }
        self.session
            .output
            .system(SystemEvent::Status {
                status: None,
                permission_mode: None,
                compact_result: Some(outcome.to_owned()),
                compact_error: error,
            })
            .await;
        result.map(|_| ())
    }

    async fn summarise(&mut self, wishes: Option<&str>) -> Result<String, CallError> {
        let instructions = match wishes.filter(|wishes| !wishes.is_empty()) {
            Some(wishes) => format!("{INSTRUCTIONS}\n\nThe user asks of the summary: {wishes}"),
            None => INSTRUCTIONS.to_owned(),
        };
        let tools = self.session.tool_definitions();
        let mut halvings = 0;
        let mut retries = self.retries();
        let original = self.work.conversation.clone();
        let mut shortened = original;
        loop {
            self.work.conversation = shortened.clone();
            self.work
                .conversation
                .push(Role::User, [Block::text(instructions.clone())]);
            let asked = Instant::now();
            let result = self.ask_for_summary(&tools, retries.attempt).await;
            self.work.account.api_time += asked.elapsed();
            match result {
                Ok(summary) => return Ok(summary),
                Err(error) if error.is_prompt_too_long() && halvings < MAX_HALVINGS => {
                    halvings += 1;
                    if !shortened.drop_oldest_half() {
                        return Err(error);
                    }
                }
                Err(error) => wait_to_retry(self.session, &self.token, &mut retries, error).await?,
            }
        }
    }

    async fn ask_for_summary(&mut self, tools: &[ToolDefinition], attempt: u32) -> Result<String, CallError> {
        let call = self.prepare(tools, true)?;
        let mut reply = Reply::default();
        let result = self.read_summary(call, attempt, &mut reply).await;
        if reply.has_started() {
            let model = if reply.model.is_empty() {
                self.session.model()
            } else {
                reply.model.clone()
            };
            self.work.account.book(&model, &reply.usage);
        }
        result
    }

    async fn read_summary(
        &self,
        (headers, body): (CallHeaders, Bytes),
        attempt: u32,
        reply: &mut Reply,
    ) -> Result<String, CallError> {
        let mut events = guarded(&self.token, self.session.client.send(&headers, body, attempt)).await?;
        let mut summary = String::new();
        loop {
            let Some(data) = guarded(&self.token, events.next()).await? else {
                return Err(CallError::Dropped {
                    message: "it ended before message_stop".to_owned(),
                });
            };
            match reply.take(&data)? {
                Step::Block(finished) => summary.push_str(finished.block.as_text().unwrap_or_default()),
                Step::Done if summary.trim().is_empty() => {
                    return Err(CallError::Malformed {
                        message: "the summary is empty".to_owned(),
                    });
                }
                Step::Done => return Ok(summary),
                Step::Started | Step::Nothing | Step::Ping => {}
            }
        }
    }

    async fn begin_anew(&mut self, summary: &str, trigger: &str, pre_tokens: u64, started: Instant) {
        let text = format!("{PREFACE}{summary}{CODA}");
        let block = Block::text(text);
        self.work.conversation.replace_with(block.clone());
        let post_tokens = self.work.conversation.estimated_tokens();
        let metadata = CompactMetadata {
            trigger: trigger.to_owned(),
            pre_tokens,
            post_tokens: Some(post_tokens),
            duration_ms: Some(started.elapsed().as_millis() as u64),
            extra: Extra::new(),
        };
        // The next call counts anew.
        self.work.account.context_tokens = 0;
        self.session.context_tokens.set(post_tokens);
        let logical_parent = self.work.transcript.leaf().map(str::to_owned);
        self.work.transcript.append(Body::System {
            subtype: "compact_boundary".to_owned(),
            compact_metadata: Some(metadata.clone()),
        });
        let content = Content::Blocks(vec![block]);
        let uuid = self.work.transcript.append(Body::User {
            message: UserMessage {
                role: Role::User,
                content: content.clone(),
            },
            tool_use_result: None,
            source: None,
            is_meta: false,
            is_compact_summary: true,
        });
        let mut extra = Extra::new();
        extra.insert("logical_parent_uuid".to_owned(), json!(logical_parent));
        let boundary = CompactBoundary {
            compact_metadata: metadata,
            extra,
        };
        self.session
            .output
            .system(SystemEvent::CompactBoundary(boundary))
            .await;
        let mut user = User::new(content);
        user.uuid = Some(uuid);
        user.is_synthetic = Some(true);
        self.session.output.user(user).await;
    }
}

/// How full the window is, for hosts that ask; counted by the last call, not by asking the API.
pub(crate) fn context_usage(session: &Session) -> serde_json::Value {
    let (used, window) = (session.context_tokens.get(), session.context_window());
    let percentage = (used as f64 / window as f64 * 100.0).round();
    json!({
        "categories": [
            {"id":"messages","name":"Messages","tokens":used,"color":"blue","kind":"used"},
            {"id":"free","name":"Free space","tokens":window.saturating_sub(used),"color":"gray","kind":"free"},
        ],
        "totalTokens": used,
        "maxTokens": window,
        "rawMaxTokens": window,
        "percentage": percentage,
        "gridRows": [],
        "model": session.model(),
        "memoryFiles": [],
        "mcpTools": [],
        "agents": [],
        "autoCompactThreshold": session.compaction_threshold(),
        "isAutoCompactEnabled": true,
        "apiUsage": null,
    })
}
