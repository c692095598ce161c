//! One session as everybody sees it: what readers share, how it stands, and its owner if it has one.
//!
//! Reading needs no owner and writes nothing. The first thing to do starts one, which claims the session. One that could
//! not write any more is followed by another as soon as that can be, so that nothing under way waits for a client.

mod seat;

use crate::hub::Hub;
use crate::owner::{COMMANDS, Command, End, Owner, Spare, Standing};
use crate::sessions::Parts;
use crate::tasks::{self, Task};
use crate::{AccessError, Idle};
use domain::{SessionId, SessionStatus};
use seat::Seat;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use wire::StopReason;

pub(crate) struct Entry {
    hub: Arc<Hub>,
    standing: watch::Sender<Standing>,
    owner: Mutex<Held>,
    /// A session that was made here belongs to us already and has nothing to be read back.
    created: std::sync::Mutex<Option<Created>>,
}

struct Created {
    row: store::Session,
    /// Stored with the first message.
    not_stored: Option<store::NewSession>,
    /// A sandbox that was made ahead.
    spare: Option<Box<Spare>>,
}

#[derive(Default)]
struct Held {
    owner: Option<Handle>,
    /// This instance leaves the session to the next one.
    let_go: bool,
}

impl Held {
    fn has_owner(&self) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| !owner.commands.is_closed())
    }
}

struct Handle {
    commands: mpsc::Sender<Command>,
    /// The owner ends with the entry.
    task: Task<()>,
}

impl Entry {
    /// Of a session that is stored.
    pub(crate) fn stored(row: &store::Session) -> Self {
        let terminated = row.status == SessionStatus::Terminated;
        let busy = matches!(row.status, SessionStatus::Running | SessionStatus::Rescheduling);
        let idle = Idle {
            terminated,
            ..Idle::default()
        };
        Self {
            hub: Arc::new(Hub::new(row.last_seq, terminated)),
            standing: watch::Sender::new(Standing {
                busy,
                idle,
                gone: false,
            }),
            owner: Mutex::default(),
            created: std::sync::Mutex::default(),
        }
    }

    /// Of a session that was made here, and may be stored with its first message only.
    pub(crate) fn created(
        row: store::Session,
        not_stored: Option<store::NewSession>,
        spare: Option<Box<Spare>>,
    ) -> Self {
        let mut entry = Self::stored(&row);
        entry.created = std::sync::Mutex::new(Some(Created {
            row,
            not_stored,
            spare,
        }));
        entry
    }

    /// How the session's log says that it stands.
    pub(crate) fn with_idle(self, idle: Idle) -> Self {
        self.standing.send_modify(|standing| standing.idle = idle);
        self
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn is_terminated(&self) -> bool {
        self.standing.borrow().idle.terminated
    }

    /// Whether there is a turn, at work or waiting for the user.
    pub(crate) fn is_in_turn(&self) -> bool {
        let standing = self.standing.borrow();
        standing.busy || matches!(standing.idle.stop_reason, Some(StopReason::RequiresAction { .. }))
    }

    /// Whether it is of use as long as nobody has it: it has an owner, or readers, or is in the middle of something.
    pub(crate) fn is_needed(&self) -> bool {
        let rests = self.owner.try_lock().is_ok_and(|held| !held.has_owner());
        !rests || self.standing.borrow().busy || Arc::strong_count(&self.hub) > 1
    }

    /// Starts the owner of a session that has something under way.
    pub(crate) async fn wake(&self, parts: &Arc<Parts>, id: &SessionId) -> Result<(), AccessError> {
        self.owner(parts, id).await.map(drop)
    }

    pub(crate) async fn wait_idle(&self, id: &SessionId) -> Result<Idle, AccessError> {
        let mut standing = self.standing.subscribe();
        let gone = || AccessError::OwnerGone { session: id.clone() };
        let stands = standing
            .wait_for(|standing| !standing.busy || standing.gone)
            .await
            .map_err(|_| gone())?;
        if stands.gone {
            Err(gone())
        } else {
            Ok(stands.idle.clone())
        }
    }

    pub(crate) async fn tell(
        &self,
        parts: &Arc<Parts>,
        id: &SessionId,
        mut command: Command,
    ) -> Result<(), AccessError> {
        // An owner may end while something waits to be asked of it.
        for _ in 0..2 {
            let commands = self.owner(parts, id).await?;
            match commands.send(command).await {
                Ok(()) => return Ok(()),
                Err(refused) => command = refused.0,
            }
        }
        Err(AccessError::OwnerGone { session: id.clone() })
    }

    /// Ends the owner, if there is one, and the sandbox or not.
    pub(crate) async fn let_go(&self, how: End) -> Result<(), AccessError> {
        let mut held = self.owner.lock().await;
        held.let_go = true;
        let Some(handle) = held.owner.take() else {
            return Ok(());
        };
        drop(held);
        let (reply, answer) = oneshot::channel();
        if handle.commands.send(Command::End { how, reply }).await.is_err() {
            return Ok(());
        }
        let answered = answer.await.unwrap_or(Ok(()));
        handle.task.finished().await;
        answered
    }

    async fn owner(&self, parts: &Arc<Parts>, id: &SessionId) -> Result<mpsc::Sender<Command>, AccessError> {
        let mut held = self.owner.lock().await;
        let owner = held.owner.as_ref();
        if let Some(handle) = owner.filter(|handle| !handle.commands.is_closed()) {
            return Ok(handle.commands.clone());
        }
        if held.let_go {
            return Err(AccessError::ShuttingDown);
        }
        let created = self.created.lock().ok().and_then(|mut created| created.take());
        let seat = Seat {
            parts: parts.clone(),
            id: id.clone(),
            hub: self.hub.clone(),
            standing: self.standing.clone(),
        };
        let begin = Box::new(match created {
            Some(created) => seat.begin_created(created)?,
            None => seat.begin().await?,
        });
        let (commands, receiver) = mpsc::channel(COMMANDS);
        self.standing.send_modify(|standing| standing.gone = false);
        let watched = Watched(self.standing.clone());
        // The request that it is started for ends before it.
        let span = tracing::info_span!(parent: None, "session", session = %id);
        let owner_runs = async move {
            let _watched = watched;
            let mut next = Some((begin, receiver));
            while let Some((begin, commands)) = next {
                next = match Owner::new(*begin, commands).run().await {
                    Some(gave_up) => {
                        let again = Box::pin(seat.begin_again(gave_up)).await;
                        again.map(|(begin, commands)| (Box::new(begin), commands))
                    }
                    None => None,
                };
            }
        };
        let task = span.in_scope(|| tasks::start("session owner", owner_runs));
        held.owner = Some(Handle {
            commands: commands.clone(),
            task,
        });
        Ok(commands)
    }
}

/// Tells those who wait for a session when its owner ends in the middle of something, however it ends.
struct Watched(watch::Sender<Standing>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.send_if_modified(|standing| {
            standing.gone = standing.busy;
            standing.gone
        });
    }
}
