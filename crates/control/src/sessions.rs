//! What can be asked of sessions, and who is asked: each session's entry has what readers share and, once something is
//! to be done, the owner.

use crate::entries::Entries;
use crate::entry::Entry;
use crate::owner::{Command, End, Spare};
use crate::settings::Lifetime;
use crate::spares::Spares;
use crate::update::Update;
use crate::{
    AccessError, BeginError, CreateError, EventStream, Input, Network, Readers, SendError, Settings,
    StartError, Summary, Toolset, admit, owner, place, reclaim, record, summary,
};
use domain::{Cost, Limits, SessionId};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use metrics::SessionMeter;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{LoggedEvent, Store};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use traces::{Context, Traces};
use tracing::Instrument as _;
use wire::{SessionError, StopReason};

/// Sessions that are taken over at the same time.
const AT_ONCE: usize = 16;

/// A handle to all sessions of a store; cheap to clone. When the last one is dropped without
/// [`shutdown`](Self::shutdown), everything stops where it is, as if the process had been killed.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Arc<Parts>,
    entries: Mutex<Entries>,
    spares: Spares,
    closing: AtomicBool,
}

pub struct Parts {
    pub store: Store,
    pub backend: Arc<dyn sandbox::Backend>,
    pub network: Arc<dyn Network>,
    pub settings: Settings,
    pub meter: SessionMeter,
    pub traces: Traces,
}

/// What a session is made with.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub workspace: Option<sandbox::Workspace>,
    pub model: String,
    pub limits: Limits,
    pub rules: policy::Rules,
    pub max_turns: Option<u32>,
    pub max_cost: Option<Cost>,
    pub system_prompt: Option<String>,
    pub title: Option<String>,
    pub runtime: Runtime,
    /// Nothing where the agent may use all that its runtime has.
    pub tools: Option<Toolset>,
    /// Variables that the agent's programs get besides.
    pub environment: BTreeMap<String, String>,
    /// How hard the model works, where that is not left to the runtime.
    pub effort: Option<String>,
    /// Of a session of the API.
    pub hosting: Option<store::Hosting>,
}

/// Which program plays the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// `hostler-agent`.
    #[default]
    Native,
    /// The official `claude` command line, in a version that is installed.
    Claude { version: String },
}

/// Why a session is not working.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Idle {
    /// Nothing before its first turn and after its end.
    pub stop_reason: Option<StopReason>,
    /// What ended the last turn before it was done.
    pub error: Option<SessionError>,
    /// No turn comes any more.
    pub terminated: bool,
}

impl Control {
    /// Takes over the store: what an instance before this one left running is ended, and each session's log says what
    /// was cut; or it goes on, where sessions outlive their hosts.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let left = match parts.settings.lifetime {
            Lifetime::Host => {
                reclaim::reclaim(&parts).await?;
                Vec::new()
            }
            Lifetime::Session => reclaim::survey(&parts).await?,
        };
        let parts = Arc::new(parts);
        let shared = Shared {
            spares: Spares::start(&parts),
            parts,
            entries: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        let control = Self {
            shared: Arc::new(shared),
        };
        control.take_over(left).await;
        Ok(control)
    }

    /// Goes on with sessions that have something under way. One that cannot be is left to whoever asks for it next.
    async fn take_over(&self, left: Vec<store::Session>) {
        let woken = left.into_iter().map(|row| async move {
            let woken = async {
                let idle = summary::idle(&self.shared.parts.store, &row).await?;
                let entry = Arc::new(Entry::stored(&row).with_idle(idle));
                self.entries().insert(row.id.clone(), entry.clone());
                entry.wake(&self.shared.parts, &row.id).await
            };
            if let Err(error) = woken.await {
                tracing::error!(session = %row.id, %error, "a session could not be taken over");
            }
        });
        futures_util::stream::iter(woken)
            .for_each_concurrent(AT_ONCE, |woken| woken)
            .await;
    }

    /// A new idle session. Its sandbox starts with the first message.
    pub async fn create(&self, new: NewSession) -> Result<SessionId, CreateError> {
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(CreateError::ShuttingDown);
        }
        // It goes on where whoever asked has left: a sandbox that it was given has to go somewhere.
        let control = self.clone();
        let created = async move { control.create_whole(new).await };
        match tokio::spawn(created.in_current_span()).await {
            Ok(created) => created,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(CreateError::ShuttingDown),
        }
    }

    async fn create_whole(&self, new: NewSession) -> Result<SessionId, CreateError> {
        let spare = self.shared.spares.take(&new);
        let id = id_for(spare.as_deref());
        let parts = &self.shared.parts;
        let stored = match record::row(&id, new) {
            Ok(row) => parts.store.create_session(row).await.map_err(CreateError::Store),
            Err(error) => Err(error),
        };
        match (stored, spare) {
            (Ok(row), spare) => {
                let has_spare = spare.is_some();
                let entry = Arc::new(Entry::created(row, None, spare));
                self.entries().insert(id.clone(), entry.clone());
                if has_spare && let Err(error) = entry.wake(parts, &id).await {
                    // Its owner would look after what it was given.
                    tracing::error!(session = %id, %error, "a new session has no owner");
                }
                Ok(id)
            }
            (Err(error), spare) => {
                if let Some(spare) = spare {
                    place::tell(&spare.discard(parts).await);
                }
                Err(error)
            }
        }
    }

    /// A new session with its first inputs, in one commit: neither is there without the other.
    pub async fn begin(
        &self,
        new: NewSession,
        inputs: Vec<Input>,
    ) -> Result<(SessionId, Vec<LoggedEvent>), BeginError> {
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(CreateError::ShuttingDown.into());
        }
        admit::inputs(&inputs, self.shared.parts.settings.bounds.message_bytes)?;
        let spare = self.shared.spares.take(&new);
        let id = id_for(spare.as_deref());
        let row = record::row(&id, new)?;
        let session = store::Session::new(&row, OffsetDateTime::now_utc());
        let entry = Arc::new(Entry::created(session, Some(row), spare));
        self.entries().insert(id.clone(), entry.clone());
        let sent = self.ask(&entry, &id, |reply| sending(inputs, reply)).await;
        let sent = sent.map_err(SendError::from).flatten();
        if sent.is_err() {
            self.entries().remove(&id);
            // What it was given goes with it.
            let _ = entry.let_go(End::Leave).await;
        }
        Ok((id, sent?))
    }

    /// Stores inputs, all of them or none, and has the agent act on them: on a message after what it is doing and what
    /// waits already, on the rest at once.
    pub async fn send(&self, id: &SessionId, inputs: Vec<Input>) -> Result<Vec<LoggedEvent>, SendError> {
        admit::inputs(&inputs, self.shared.parts.settings.bounds.message_bytes)?;
        let entry = self.entry(id).await?;
        if entry.is_terminated() {
            return Err(SendError::Terminated { session: id.clone() });
        }
        self.ask(&entry, id, |reply| sending(inputs, reply)).await?
    }

    /// Ends the present turn; messages that wait come after it. Does nothing to a session that has none.
    pub async fn interrupt(&self, id: &SessionId) -> Result<(), SendError> {
        if !self.entry(id).await?.is_in_turn() {
            return Ok(());
        }
        self.send(id, vec![Input::Interrupt]).await.map(drop)
    }

    pub async fn update(&self, id: &SessionId, update: Update) -> Result<(), SendError> {
        let entry = self.entry(id).await?;
        let update = Box::new(update);
        self.ask(&entry, id, |reply| Command::Update { update, reply })
            .await?
    }

    /// The log after an event's number (0 for all of it), and then what comes.
    pub async fn events(&self, id: &SessionId, after: u64) -> Result<EventStream, AccessError> {
        let entry = self.entry(id).await?;
        Ok(EventStream::new(
            id.clone(),
            self.shared.parts.store.clone(),
            entry.hub().clone(),
            after,
        ))
    }

    /// Waits until the session has nothing to do.
    pub async fn wait_idle(&self, id: &SessionId) -> Result<Idle, AccessError> {
        self.entry(id).await?.wait_idle(id).await
    }

    pub async fn summary(&self, id: &SessionId) -> Result<Summary, AccessError> {
        Ok(summary::read(&self.shared.parts.store, id).await?)
    }

    /// Ends the runtime and the sandbox; the row, the log and the files stay. The session takes no more messages.
    pub async fn stop(&self, id: &SessionId) -> Result<(), AccessError> {
        let entry = self.entry(id).await?;
        if entry.is_terminated() {
            return Ok(());
        }
        self.ask(&entry, id, |reply| Command::End {
            how: End::Stop,
            reply,
        })
        .await?
    }

    /// Ends the runtime and the sandbox of a session that rests or waits; it takes nothing any more.
    pub async fn archive(&self, id: &SessionId) -> Result<(), AccessError> {
        let entry = self.entry(id).await?;
        if entry.is_terminated() {
            return Ok(self.store().archive_session(id).await?);
        }
        self.ask(&entry, id, |reply| Command::End {
            how: End::Archive,
            reply,
        })
        .await?
    }

    /// Stops the session and removes its files, its log and its row.
    pub async fn remove(&self, id: &SessionId) -> Result<(), AccessError> {
        self.take_away(id, End::Remove).await
    }

    /// The same, unless it is running.
    pub async fn delete(&self, id: &SessionId) -> Result<(), AccessError> {
        self.take_away(id, End::Delete).await
    }

    async fn take_away(&self, id: &SessionId, how: End) -> Result<(), AccessError> {
        let entry = self.entry(id).await?;
        if entry.is_terminated() {
            owner::remove(&self.shared.parts, id).await?;
            entry.hub().close();
        } else {
            self.ask(&entry, id, |reply| Command::End { how, reply })
                .await??;
        }
        self.entries().remove(id);
        Ok(())
    }

    /// All sessions, the newest first.
    pub async fn sessions(&self) -> Result<Vec<store::Session>, AccessError> {
        Ok(self.shared.parts.store.sessions().await?)
    }

    pub fn store(&self) -> &Store {
        &self.shared.parts.store
    }

    pub async fn session(&self, id: &SessionId) -> Result<store::Session, AccessError> {
        Ok(self.shared.parts.store.session(id).await?)
    }

    /// Sandboxes that wait for sessions with a runtime in them.
    pub fn spares(&self) -> usize {
        self.shared.spares.ready()
    }

    /// Whether sandboxes can be made and reached now.
    pub async fn has_backend(&self) -> bool {
        self.shared.parts.backend.report().await.is_ok()
    }

    /// Ends every runtime and sandbox and all readers, and waits for that until the deadline. Sessions that were
    /// working get an error and are idle. What is not ended by then is reclaimed by the next start.
    pub async fn shutdown(&self, deadline: Duration) {
        drop(self.let_go(End::Shutdown, deadline).await);
    }

    /// Lets go of every session as it is, for the next start to go on with. Readers end when the answer is dropped.
    pub async fn leave(&self, deadline: Duration) -> Readers {
        self.let_go(End::Leave, deadline).await
    }

    async fn let_go(&self, how: End, deadline: Duration) -> Readers {
        self.shared.closing.store(true, Ordering::Release);
        let entries = self.entries().take_all();
        let hubs = entries
            .iter()
            .map(|(id, entry)| (id.clone(), entry.hub().clone()));
        let readers = Readers::new(self.store().clone(), hubs.collect());
        self.shared.spares.close().await;
        let ended = join_all(entries.into_iter().map(|(id, entry)| async move {
            if let Err(error) = entry.let_go(how).await {
                tracing::warn!(session = %id, %error, "a session did not end cleanly");
            }
        }));
        if tokio::time::timeout(deadline, ended).await.is_err() {
            tracing::warn!(
                ?deadline,
                "not every session ended in time; the next start takes over the rest"
            );
        }
        readers
    }

    /// Has the session's owner do something, starting one if there is none.
    async fn ask<T>(
        &self,
        entry: &Entry,
        id: &SessionId,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, AccessError> {
        let (reply, answer) = oneshot::channel();
        entry.tell(&self.shared.parts, id, command(reply)).await?;
        answer
            .await
            .map_err(|_| AccessError::OwnerGone { session: id.clone() })
    }

    async fn entry(&self, id: &SessionId) -> Result<Arc<Entry>, AccessError> {
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(AccessError::ShuttingDown);
        }
        if let Some(entry) = self.entries().get(id) {
            return Ok(entry);
        }
        let row = self.shared.parts.store.session(id).await?;
        let idle = summary::idle(&self.shared.parts.store, &row).await?;
        let entry = Entry::stored(&row).with_idle(idle);
        Ok(self.entries().get_or_insert(id, entry))
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of a session that takes a spare stands in it already.
fn id_for(spare: Option<&Spare>) -> SessionId {
    spare.map_or_else(SessionId::random, |spare| spare.id.clone())
}

/// What the owner is asked, as a part of the request that this is called for.
fn sending(inputs: Vec<Input>, reply: oneshot::Sender<Result<Vec<LoggedEvent>, SendError>>) -> Command {
    Command::Send {
        inputs,
        reply,
        request: Context::current(),
    }
}
