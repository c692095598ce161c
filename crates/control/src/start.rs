//! From a turn to a runtime that works on it: a place if there is none, the conversation so far, the process. And from a
//! host that is gone to the place and the process that it left.

use crate::place::{self, Address, Files, Grounds, Place, PlaceError};
use crate::record::Record;
use crate::runtime::{Conversation, Launch, Lifeline, Runtime, initialize};
use crate::sessions::Parts;
use crate::settings::{Lifetime, RuntimeTemplate};
use domain::{Cost, EventId, SandboxId, SessionId};
use guest_protocol::{ClientError, ErrorKind};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{LoggedEvent, Query, Store};
use stream_json::FrameError;
use traces::SessionTrace;
use translate::toolset::Toolset;
use translate::{message, transcript};
use uuid::Uuid;
use wire::ContentBlock;

const PAGE: u32 = 512;
/// What of a long conversation is read back, as JSON.
const MAX_CONVERSATION: usize = 48 << 20;

const FILES_LOST: &str = "The sandbox that this conversation was held in is gone, and this is a new one. The files that \
    you changed, the processes that you started and the state of your shell are not in it. /workspace is as the user has \
    it now. Look before you rely on anything from before.";
const PROCESSES_LOST: &str = "The sandbox that this conversation was held in was lost, and this is a new one. It has the \
    files as you left them; what was written shortly before the end may be missing or incomplete. The processes that you \
    started and the state of your shell are gone. Look before you rely on anything from before.";
const GO_ON: &str = "You were interrupted in the middle of your work, by a failure and not by the user. Calls that have no \
    result may have run or not: look before you repeat them. Go on with what you were doing.";

/// Where the runtime shall run.
pub(crate) enum Where {
    /// In a sandbox that is recorded and not built yet.
    New {
        address: Address,
        /// With the files of the one before it, if there was one.
        keeps_files: bool,
    },
    /// In one that a host before this one built.
    Found(Address),
    There(Place),
}

impl Where {
    pub(crate) fn sandbox(&self) -> &SandboxId {
        match self {
            Self::New { address, .. } | Self::Found(address) => &address.sandbox,
            Self::There(place) => &place.sandbox,
        }
    }
}

/// Which process plays the agent.
pub(crate) enum What {
    /// A new one; its name is recorded already.
    Run { process: String, order: Order },
    /// One that a host before this one recorded, with what it shall do if a turn is under way.
    Find {
        process: String,
        /// The last output record that is stored.
        stored: u64,
        order: Option<Order>,
        /// It may not have been told so.
        repeat: bool,
    },
    /// A new one that waits for a first message. Nothing of it is recorded.
    Wait { process: String },
    /// None: there is only the place to be found.
    Nothing,
}

/// What the runtime shall do first.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Message {
        event: EventId,
        content: Vec<ContentBlock>,
        /// What its operator adds to it.
        notes: Vec<String>,
    },
    /// Go on with the turn of a message.
    GoOn {
        turn: EventId,
        restarts: u32,
        /// Calls that were not made yet, with the runtime's ids of them.
        calls: BTreeMap<EventId, String>,
    },
}

pub(crate) struct Start {
    pub parts: Arc<Parts>,
    pub record: Record,
    pub tools: Option<Arc<Toolset>>,
    pub place: Where,
    pub what: What,
    /// Whether the session has had a process before this one.
    pub had_process: bool,
    /// Before anything is tried.
    pub pause: Duration,
    /// When the session's first message came, where this is for it.
    pub waiting_since: Option<Instant>,
    pub trace: SessionTrace,
}

/// What became of a start. A place without a runtime is there to be used or torn down.
pub(crate) struct Started {
    pub place: Option<Place>,
    /// Nothing where none was asked for, or the one that was looked for had never been started.
    pub runtime: Result<Option<Runtime>, String>,
    /// The sandbox that was looked for is not there any more.
    pub not_found: bool,
    /// The last output record that is stored of a process that was there already.
    pub found: Option<u64>,
}

impl Started {
    pub(crate) fn failed(reason: String) -> Self {
        Self {
            place: None,
            runtime: Err(reason),
            not_found: false,
            found: None,
        }
    }
}

impl Start {
    pub(crate) async fn run(mut self) -> Started {
        tokio::time::sleep(self.pause).await;
        let deadline = self.parts.settings.deadlines.start;
        let parts = self.parts.clone();
        let sandbox = self.place.sandbox().clone();
        let started = async {
            let place = std::mem::replace(&mut self.place, Where::Found(Address::random()));
            match self.enter(place).await {
                Ok((place, files)) => {
                    let (runtime, found) = self.play(&place, files).await;
                    Started {
                        place: Some(place),
                        runtime,
                        not_found: false,
                        found,
                    }
                }
                Err(error) => Started {
                    not_found: matches!(&error, PlaceError::Sandbox(sandbox::Error::NotFound { .. })),
                    ..Started::failed(error.to_string())
                },
            }
        };
        if let Ok(started) = tokio::time::timeout(deadline, started).await {
            return started;
        }
        place::tell(&place::destroy(&parts, &sandbox).await);
        Started::failed(format!(
            "the sandbox and the agent did not start within {deadline:?}"
        ))
    }

    /// The place, and what files it began with if it is a new one.
    async fn enter(&self, place: Where) -> Result<(Place, Option<Files>), PlaceError> {
        match place {
            Where::There(place) => Ok((place, None)),
            Where::Found(address) => {
                let step = self.trace.sandbox(&address.sandbox, false);
                let found = Place::find(self.grounds(None), address).await;
                step.ended_as(&found, "sandbox_not_found");
                Ok((found?, None))
            }
            Where::New { address, keeps_files } => {
                let step = self.trace.sandbox(&address.sandbox, true);
                let built = Place::build(self.grounds(self.waiting_since), address, keeps_files).await;
                step.ended_as(&built, "sandbox_not_started");
                let (place, files) = built?;
                Ok((place, Some(files)))
            }
        }
    }

    fn grounds(&self, waiting_since: Option<Instant>) -> Grounds<'_> {
        Grounds {
            parts: &self.parts,
            record: &self.record,
            tools: self.tools.as_deref(),
            waiting_since,
            trace: &self.trace,
        }
    }

    async fn play(
        &mut self,
        place: &Place,
        files: Option<Files>,
    ) -> (Result<Option<Runtime>, String>, Option<u64>) {
        match std::mem::replace(&mut self.what, What::Nothing) {
            What::Nothing => (Ok(None), None),
            What::Run { process, order } => {
                let begun = self.begin(place, files, process, Some(order)).await;
                (begun.map(Some), None)
            }
            What::Wait { process } => (self.begin(place, files, process, None).await.map(Some), None),
            What::Find {
                process,
                stored,
                order,
                repeat,
            } => {
                let lifeline = self.lifeline(place);
                match Runtime::find(place.client.clone(), process.clone(), stored, lifeline).await {
                    Ok(Some(found)) => {
                        let order = order.filter(|_| repeat);
                        (self.tell_again(found, order).map(Some), Some(stored))
                    }
                    // Recorded, and never started. One that has said something is gone, and its name with it: the log has
                    // taken so many of its lines, and would take those of another for the same.
                    Ok(None) => match order.filter(|_| stored == 0) {
                        Some(order) => {
                            let begun = self.begin(place, files, process, Some(order)).await;
                            (begun.map(Some), None)
                        }
                        None => (Ok(None), None),
                    },
                    Err(reason) => (Err(reason), None),
                }
            }
        }
    }

    /// Repeats what a host that is gone may not have said; a runtime acts on each line once.
    fn tell_again(&self, found: crate::runtime::Found, order: Option<Order>) -> Result<Runtime, String> {
        let mut lines = Vec::new();
        if let Some(order) = order {
            if !found.had_input {
                lines.push(self.initialize(&[]));
            }
            lines.extend(order.line(&[]));
        }
        for line in lines {
            let line = line.map_err(|error| error.to_string())?;
            found.runtime.send(line).map_err(|error| error.to_string())?;
        }
        Ok(found.runtime)
    }

    async fn begin(
        &self,
        place: &Place,
        files: Option<Files>,
        process: String,
        order: Option<Order>,
    ) -> Result<Runtime, String> {
        let step = self.trace.runtime();
        let started = self.start(place, files, process, order).await;
        step.ended_as(&started, "runtime_not_started");
        started
    }

    async fn start(
        &self,
        place: &Place,
        files: Option<Files>,
        process: String,
        order: Option<Order>,
    ) -> Result<Runtime, String> {
        let conversation = match &order {
            Some(order) if self.had_process => self.conversation(place, files, order).await?,
            _ => Conversation::New(message::conversation_uuid(&self.record.row.id)),
        };
        let max_cost = match conversation {
            // A resumed runtime counts what its transcript says was spent, and a budget may be raised while it runs: the
            // gateway holds it then.
            Conversation::Resumed(_) | Conversation::From(_) => None,
            Conversation::New(_) if self.parts.settings.lifetime == Lifetime::Session => None,
            Conversation::New(_) => self.budget_left().await?,
        };
        let mut notes = Vec::new();
        if self.had_process {
            notes.extend(files.map(|files| match files {
                Files::Fresh | Files::Lost => FILES_LOST.to_owned(),
                Files::Kept => PROCESSES_LOST.to_owned(),
            }));
        }
        let first = order.as_ref().and_then(|order| order.line(&notes));
        // What cannot go with a line goes with the system prompt.
        let prompt_notes: &[String] = if first.is_none() { &notes } else { &[] };
        let lines: Result<Vec<_>, _> = [self.initialize(prompt_notes)].into_iter().chain(first).collect();
        let launch = Launch {
            process,
            model: self.record.row.model.clone(),
            max_turns: self.record.settings.max_turns,
            max_cost,
            token: place.token.clone(),
            conversation,
            tools: self.tools.clone(),
            environment: self.record.settings.environment.clone(),
            effort: self.record.settings.effort.clone(),
            run_tool_uses: order.as_ref().and_then(Order::calls),
        };
        let spawn = launch.spawn(self.template());
        let lines = lines.map_err(|error| error.to_string())?;
        Runtime::start(place.client.clone(), spawn, lines, self.lifeline(place))
            .await
            .map_err(|error| format!("the agent's runtime could not be started: {error}"))
    }

    fn initialize(&self, notes: &[String]) -> Result<Vec<u8>, FrameError> {
        let system_prompt = self.record.settings.system_prompt.as_deref();
        initialize(system_prompt, notes, self.tools.as_deref())
    }

    fn template(&self) -> &RuntimeTemplate {
        let templates = &self.parts.settings.templates;
        templates.of(&self.record.settings.runtime)
    }

    fn lifeline(&self, place: &Place) -> Lifeline {
        Lifeline {
            backend: self.parts.backend.clone(),
            sandbox: place.sandbox.clone(),
            patience: self.parts.settings.deadlines.reconnect,
        }
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

    /// How the conversation goes on: by the transcript that is in the sandbox where it was all the time, or by one made
    /// from the log.
    async fn conversation(
        &self,
        place: &Place,
        files: Option<Files>,
        order: &Order,
    ) -> Result<Conversation, String> {
        let id = message::conversation_uuid(&self.record.row.id);
        let unreachable = |error: ClientError| format!("the conversation could not be restored: {error}");
        // What was answered to calls that are not made again is in the log alone.
        let lacks_answers = matches!(order, Order::GoOn { .. }) && !self.template().makes_calls_again;
        let is_whole = files.is_none() && !lacks_answers;
        if is_whole && self.has_transcript(place, id).await.map_err(unreachable)? {
            return Ok(Conversation::Resumed(id));
        }
        let may_be_there = matches!(files, None | Some(Files::Kept));
        if let (true, Some(torn)) = (may_be_there, self.transcript_path(id)) {
            // It may have been cut in the middle of what was being written, or filled with nothing: the log is whole.
            match place.client.delete_file(torn).await {
                Err(error) if error.kind() != Some(ErrorKind::NotFound) => return Err(unreachable(error)),
                _ => {}
            }
        }
        let events = conversation(&self.parts.store, &self.record.row.id).await;
        let events = events.map_err(|error| format!("the conversation could not be read: {error}"))?;
        let (except, open) = match order {
            Order::Message { event, .. } => (Some(event), None),
            Order::GoOn { calls, .. } => (None, Some(calls)),
        };
        let about = transcript::About {
            conversation: id,
            model: &self.record.row.model,
            directory: &self.template().directory,
            except,
            open,
        };
        let Some(text) = transcript::rebuild(events, &about) else {
            return Ok(Conversation::New(id));
        };
        let home = self
            .template()
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

    /// Where runtimes keep the transcript of a conversation.
    fn transcript_path(&self, conversation: Uuid) -> Option<String> {
        let template = self.template();
        let config = template.environment.get("CLAUDE_CONFIG_DIR")?;
        let slug = template
            .directory
            .replace(|character: char| !character.is_ascii_alphanumeric(), "-");
        Some(format!("{config}/projects/{slug}/{conversation}.jsonl"))
    }

    async fn has_transcript(&self, place: &Place, conversation: Uuid) -> Result<bool, ClientError> {
        let Some(path) = self.transcript_path(conversation) else {
            return Ok(false);
        };
        match place.client.read_file(path, 0, 1).await {
            Ok(bytes) => Ok(!bytes.is_empty()),
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Order {
    /// The line that says it; nothing where the runtime goes on by itself.
    pub(crate) fn line(&self, more: &[String]) -> Option<Result<Vec<u8>, FrameError>> {
        let frame = match self {
            Self::Message {
                event,
                content,
                notes,
            } => message::frame(event, content, &[more, notes].concat()),
            Self::GoOn { calls, .. } if !calls.is_empty() => return None,
            Self::GoOn { turn, restarts, .. } => {
                message::note(turn, *restarts, &[more, &[GO_ON.to_owned()]].concat())
            }
        };
        Some(frame.to_line())
    }

    fn calls(&self) -> Option<Vec<String>> {
        match self {
            Self::GoOn { calls, .. } if !calls.is_empty() => Some(calls.values().cloned().collect()),
            _ => None,
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
