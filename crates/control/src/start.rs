//! From a message to a runtime that works on it: a place if there is none, the conversation so far, the process.

use crate::place::{self, Place};
use crate::record::Record;
use crate::runtime::{Conversation, Launch, Lifeline, Runtime, initialize};
use crate::sessions::Parts;
use crate::{message, transcript};
use domain::{Cost, EventId, SandboxId, SessionId};
use guest_protocol::{ClientError, ErrorKind};
use std::collections::VecDeque;
use std::sync::Arc;
use store::{LoggedEvent, Query, Store};
use uuid::Uuid;

const PAGE: u32 = 512;
/// What of a long conversation is read back, as JSON.
const MAX_CONVERSATION: usize = 48 << 20;

const LOST: &str = "<system-reminder>The sandbox that this conversation was held in is gone, and this is a new one. \
    The files that you changed, the processes that you started and the state of your shell are not in it. \
    /workspace is as the user has it now. Look before you rely on anything from before.</system-reminder>";

/// Where the runtime shall run.
pub(crate) enum Where {
    /// In a sandbox that is recorded and not built yet.
    New(SandboxId),
    There(Place),
}

pub(crate) struct Start {
    pub parts: Arc<Parts>,
    pub record: Record,
    pub place: Where,
    /// The process's name; recorded already.
    pub process: String,
    /// The message that the runtime gets first.
    pub message: EventId,
    pub first_line: Vec<u8>,
    /// Whether the session has had a process before this one.
    pub had_process: bool,
}

/// What became of a start. A place without a runtime is there to be used or torn down.
pub(crate) struct Started {
    pub place: Option<Place>,
    pub runtime: Result<Runtime, String>,
}

impl Start {
    pub(crate) async fn run(self) -> Started {
        let deadline = self.parts.settings.deadlines.start;
        let parts = self.parts.clone();
        let sandbox = match &self.place {
            Where::New(sandbox) => sandbox.clone(),
            Where::There(place) => place.sandbox.clone(),
        };
        if let Ok(started) = tokio::time::timeout(deadline, self.place_and_runtime()).await {
            return started;
        }
        place::tell(&place::destroy(&parts, &sandbox).await);
        let reason = format!("the sandbox and the agent did not start within {deadline:?}");
        Started {
            place: None,
            runtime: Err(reason),
        }
    }

    async fn place_and_runtime(mut self) -> Started {
        let is_new = matches!(self.place, Where::New(_));
        let place = match std::mem::replace(&mut self.place, Where::New(SandboxId::random())) {
            Where::There(place) => place,
            Where::New(sandbox) => match Place::build(&self.parts, &self.record, sandbox).await {
                Ok(place) => place,
                Err(error) => {
                    return Started {
                        place: None,
                        runtime: Err(error.to_string()),
                    };
                }
            },
        };
        let runtime = self.runtime(&place, is_new).await;
        Started {
            place: Some(place),
            runtime,
        }
    }

    async fn runtime(self, place: &Place, is_new: bool) -> Result<Runtime, String> {
        let conversation = if self.had_process {
            self.conversation(place, is_new).await?
        } else {
            Conversation::New(message::conversation_uuid(&self.record.row.id))
        };
        let max_cost = match conversation {
            // A resumed runtime counts what its transcript says was spent; the gateway holds the budget then.
            Conversation::Resumed(_) | Conversation::From(_) => None,
            Conversation::New(_) => self.budget_left().await?,
        };
        let lines = vec![
            initialize(self.record.settings.system_prompt.as_deref()).map_err(|error| error.to_string())?,
            self.first_line,
        ];
        let launch = Launch {
            process: self.process,
            model: self.record.row.model.clone(),
            max_turns: self.record.settings.max_turns,
            max_cost,
            token: place.token.clone(),
            conversation,
        };
        let lifeline = Lifeline {
            backend: self.parts.backend.clone(),
            sandbox: place.sandbox.clone(),
            patience: self.parts.settings.deadlines.reconnect,
        };
        let spawn = launch.spawn(&self.parts.settings.runtime);
        Runtime::start(place.client.clone(), spawn, lines, lifeline)
            .await
            .map_err(|error| format!("the agent's runtime could not be started: {error}"))
    }

    /// What is left of the session's budget.
    async fn budget_left(&self) -> Result<Option<Cost>, String> {
        let Some(budget) = self.record.settings.max_cost else {
            return Ok(None);
        };
        let spent = self.parts.store.model_call_sums(&self.record.row.id).await;
        let spent = spent.map_err(|error| error.to_string())?;
        Ok(Some(Cost::from_nano_usd(
            budget.nano_usd.saturating_sub(spent.cost.nano_usd),
        )))
    }

    /// How the conversation goes on: by the transcript that is in the sandbox, or by one made from the log.
    async fn conversation(&self, place: &Place, is_new: bool) -> Result<Conversation, String> {
        let id = message::conversation_uuid(&self.record.row.id);
        let unreachable = |error: ClientError| format!("the conversation could not be restored: {error}");
        if !is_new && self.has_transcript(place, id).await.map_err(unreachable)? {
            return Ok(Conversation::Resumed(id));
        }
        let events = conversation(&self.parts.store, &self.record.row.id).await;
        let events = events.map_err(|error| format!("the conversation could not be read: {error}"))?;
        let about = transcript::About {
            conversation: id,
            model: &self.record.row.model,
            directory: &self.parts.settings.runtime.directory,
            except: &self.message,
            note: is_new.then_some(LOST),
        };
        let Some(text) = transcript::rebuild(events, &about) else {
            return Ok(Conversation::New(id));
        };
        let home = self
            .parts
            .settings
            .runtime
            .environment
            .get("HOME")
            .map_or("/tmp", String::as_str);
        let path = format!("{home}/{id}.jsonl");
        place
            .client
            .write_file(&path, 0o600, text.into())
            .await
            .map_err(unreachable)?;
        Ok(Conversation::From(path))
    }

    async fn has_transcript(&self, place: &Place, conversation: Uuid) -> Result<bool, ClientError> {
        let template = &self.parts.settings.runtime;
        let Some(config) = template.environment.get("CLAUDE_CONFIG_DIR") else {
            return Ok(false);
        };
        let slug = template
            .directory
            .replace(|character: char| !character.is_ascii_alphanumeric(), "-");
        let path = format!("{config}/projects/{slug}/{conversation}.jsonl");
        match place.client.read_file(path, 0, 1).await {
            Ok(bytes) => Ok(!bytes.is_empty()),
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The conversation so far, as the log has it; of a very long one the end.
async fn conversation(store: &Store, session: &SessionId) -> Result<Vec<LoggedEvent>, store::Error> {
    let types = transcript::TYPES.map(str::to_owned);
    let mut events = VecDeque::new();
    let (mut after, mut bytes) = (0, 0);
    loop {
        let page = store
            .events(
                session,
                Query {
                    after,
                    limit: PAGE,
                    types: &types,
                },
            )
            .await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for event in page {
            let size = serde_json::to_string(&event.event).map_or(0, |text| text.len());
            bytes += size;
            events.push_back((event, size));
        }
        while bytes > MAX_CONVERSATION {
            let Some((_, size)) = events.pop_front() else {
                break;
            };
            bytes -= size;
        }
    }
    Ok(events.into_iter().map(|(event, _)| event).collect())
}
