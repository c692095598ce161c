//! One turn: from user lines to a result.
//!
//! ```text
//!          +-------------------------------- tool results, queued lines <---+
//!          v                                                                |
//!   admit -> room in the window? -> call the model -> calls? -- yes --> run them
//!                  |                     |              | no
//!                  v                     v              v
//!               compact               api error      completed
//! ```
//!
//! Whatever ends it, every `tool_use` has a result afterwards and exactly one result frame is sent.

mod ask;
mod calls;
mod finish;
mod left_out;
mod perform;
mod reply;

pub(crate) use calls::Call;
pub(crate) use perform::Performed;
pub(crate) use reply::{guarded, wait_to_retry};

use crate::account::Account;
use crate::conversation::Conversation;
use crate::model::CallError;
use crate::session::Session;
use crate::transcript::{Body, Transcript};
use domain::PriceTable;
use serde_json::Value;
use std::time::Instant;
use stream_json::{Block, Content, PermissionDenial, Role, User, UserMessage};
use tokio_util::sync::CancellationToken;

/// Replies in a row that may end at the output limit.
const MAX_CONTINUATIONS: u32 = 3;

/// Compactions in a row without a reply that fits.
const MAX_COMPACTIONS: u32 = 2;

/// The model must be given something to answer where its own words are the last: whether there were more of them, only
/// it can tell.
const CUT_OFF: &str =
    "[The session was interrupted here and goes on now. Go on where you stopped; if all is done, say so.]";

/// What turns change and hand on to the next.
pub(crate) struct Work {
    pub(crate) conversation: Conversation,
    pub(crate) transcript: Transcript,
    pub(crate) account: Account,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Completed {
        text: String,
        stop_reason: Option<String>,
    },
    Interrupted {
        in_tools: bool,
    },
    ApiError(CallError),
    /// The reply was cut off at the output limit again and again.
    OutputLimit,
    MaxTurns {
        limit: u32,
    },
    Budget {
        limit: domain::Cost,
    },
    NoPrice {
        model: String,
    },
    /// Summaries do not make the conversation fit.
    NoRoom,
}

pub(crate) struct Turn<'a> {
    pub(crate) session: &'a Session,
    pub(crate) work: &'a mut Work,
    pub(crate) token: CancellationToken,
    pub(crate) started: Instant,
    pub(crate) number: u32,
    pub(crate) user_uuids: Vec<String>,
    pub(crate) origin: Option<Value>,
    pub(crate) denials: Vec<PermissionDenial>,
    compactions: u32,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(session: &'a Session, work: &'a mut Work) -> Self {
        work.account.begin_turn();
        Self {
            token: session.token(),
            session,
            work,
            started: Instant::now(),
            number: 0,
            user_uuids: Vec::new(),
            origin: None,
            denials: Vec::new(),
            compactions: 0,
        }
    }

    /// Runs to the end; whether the result is an error.
    pub(crate) async fn run(mut self, prompts: Vec<User>) -> bool {
        self.session.state("running").await;
        crate::control::send_init(self.session).await;
        let asks_nothing = prompts.iter().all(|prompt| prompt.should_query == Some(false));
        for prompt in prompts {
            self.admit(prompt).await;
        }
        let end = if asks_nothing {
            End::Completed {
                text: String::new(),
                stop_reason: None,
            }
        } else {
            self.converse().await
        };
        self.finish(end).await
    }

    /// Goes on from the end of the transcript: runs the calls that were left open, then lets the model go on; whether
    /// the result is an error.
    pub(crate) async fn go_on(mut self, calls: Vec<Call>) -> bool {
        self.session.state("running").await;
        crate::control::send_init(self.session).await;
        let mut end = None;
        if !calls.is_empty() {
            end = self.run_calls(calls).await;
        }
        if end.is_none() && self.work.conversation.ends_with_reply() {
            self.inject(CUT_OFF).await;
        }
        let end = match end {
            Some(end) => end,
            None => self.converse().await,
        };
        self.finish(end).await
    }

    /// Takes a user line into the conversation.
    pub(crate) async fn admit(&mut self, mut prompt: User) {
        let given = prompt.uuid.take();
        let uuid = given.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        if let Some(uuid) = &given {
            self.session.output.lifecycle(uuid, "started").await;
            self.user_uuids.push(uuid.clone());
        }
        self.origin = prompt.origin.take().or(self.origin.take());
        self.work
            .transcript
            .append_as(uuid.clone(), Body::user(prompt.message.clone()));
        if self.session.options.replays_user_messages {
            let mut replay = User::new(prompt.message.content.clone());
            replay.uuid = Some(uuid);
            replay.is_replay = Some(true);
            replay.is_synthetic = prompt.is_synthetic;
            replay.timestamp = Some(crate::clock::timestamp());
            self.session.output.user(replay).await;
        }
        self.work
            .conversation
            .push(Role::User, prompt.message.content.into_blocks());
    }

    /// Adds text in the user's place that no user wrote.
    pub(crate) async fn inject(&mut self, text: &str) {
        let content = Content::Blocks(vec![Block::text(text)]);
        let message = UserMessage {
            role: Role::User,
            content: content.clone(),
        };
        let body = Body::User {
            message,
            tool_use_result: None,
            source: None,
            is_meta: true,
            is_compact_summary: false,
        };
        let mut user = User::new(content.clone());
        user.uuid = Some(self.work.transcript.append(body));
        user.is_synthetic = Some(true);
        self.work.conversation.push(Role::User, content.into_blocks());
        self.session.output.user(user).await;
    }

    async fn converse(&mut self) -> End {
        let mut continuations = 0;
        loop {
            // Calls may have asked the model as well, and spent.
            if let Some(end) = self.refuse_by_budget() {
                return end;
            }
            self.fold_inbox().await;
            if let Err(end) = self.make_room().await {
                return end;
            }
            self.number += 1;
            if let Some(limit) = self
                .session
                .options
                .max_turns
                .filter(|&limit| self.number > limit)
            {
                return End::MaxTurns { limit };
            }
            let reply = match self.ask_model().await {
                Ok(reply) => reply,
                Err(CallError::Interrupted) => return End::Interrupted { in_tools: false },
                Err(error) if error.is_prompt_too_long() => {
                    if let Err(end) = self.compact_or(End::ApiError(error)).await {
                        return end;
                    }
                    self.number -= 1;
                    continue;
                }
                Err(error) => return End::ApiError(error),
            };
            self.compactions = 0;
            if let Some(limit) = self
                .session
                .options
                .max_budget
                .filter(|&limit| self.work.account.total() >= limit)
                && !(reply.calls.is_empty() && reply.stop_reason.as_deref() != Some("max_tokens"))
            {
                return End::Budget { limit };
            }
            if !reply.calls.is_empty() {
                if let Some(end) = self.run_calls(reply.calls).await {
                    return end;
                }
            } else if reply.stop_reason.as_deref() == Some("max_tokens") {
                continuations += 1;
                if continuations > MAX_CONTINUATIONS {
                    return End::OutputLimit;
                }
                self.inject("Your reply reached the output token limit. Go on exactly where it stopped, without repeating anything.")
                    .await;
                continue;
            } else {
                return End::Completed {
                    text: reply.text,
                    stop_reason: reply.stop_reason,
                };
            }
            continuations = 0;
        }
    }

    /// A budget that is used up, or that cannot be kept because nobody knows the model's price.
    fn refuse_by_budget(&self) -> Option<End> {
        let limit = self.session.options.max_budget?;
        let model = self.session.model();
        if PriceTable::built_in().model(&model).is_none() {
            return Some(End::NoPrice { model });
        }
        (self.work.account.total() >= limit).then_some(End::Budget { limit })
    }

    /// Lines that came while the turn ran join it, up to a local command, which has its own turn.
    async fn fold_inbox(&mut self) {
        loop {
            let next = {
                let mut inbox = self.session.inbox.borrow_mut();
                match inbox.front() {
                    Some(line) if crate::commands::Command::of(line).is_none() => inbox.pop_front(),
                    _ => None,
                }
            };
            let Some(line) = next else { return };
            self.admit(line).await;
        }
    }

    /// Summarises the conversation if the next call might not fit.
    async fn make_room(&mut self) -> Result<(), End> {
        let counted = self.work.account.context_tokens;
        let tokens = if counted == 0 {
            self.work.conversation.estimated_tokens()
        } else {
            counted
        };
        // Nothing but the prompt itself cannot be made smaller.
        if tokens < self.session.compaction_threshold() || self.work.conversation.messages().len() < 2 {
            return Ok(());
        }
        self.compact_or(End::NoRoom).await
    }

    async fn compact_or(&mut self, otherwise: End) -> Result<(), End> {
        self.compactions += 1;
        if self.compactions > MAX_COMPACTIONS || self.work.conversation.messages().len() < 2 {
            return Err(otherwise);
        }
        match self.compact("auto", None).await {
            Ok(()) => Ok(()),
            Err(CallError::Interrupted) => Err(End::Interrupted { in_tools: false }),
            Err(error) => Err(End::ApiError(error)),
        }
    }
}
