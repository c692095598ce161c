//! What the owners of a session begin with, one after another.

use super::Created;
use crate::hub::Hub;
use crate::owner::{Begin, Command, End, GaveUp, Standing};
use crate::record::Record;
use crate::sessions::Parts;
use crate::settings::Lifetime;
use crate::{AccessError, left_behind, reclaim, summary};
use domain::{SessionId, SessionStatus};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Before a session is begun once more whose log could not be written, and between later attempts at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the owners of a session have in common.
pub(super) struct Seat {
    pub(super) parts: Arc<Parts>,
    pub(super) id: SessionId,
    pub(super) hub: Arc<Hub>,
    pub(super) standing: watch::Sender<Standing>,
}

impl Seat {
    pub(super) fn begin_created(
        &self,
        Created {
            row,
            not_stored,
            spare,
        }: Created,
    ) -> Result<Begin, AccessError> {
        let (epoch, record) = (row.epoch, Record::read(row)?);
        Ok(Begin {
            parts: self.parts.clone(),
            record,
            epoch,
            create: not_stored.map(Box::new),
            hub: self.hub.clone(),
            standing: self.standing.clone(),
            queue: VecDeque::new(),
            processes: 0,
            active: Duration::ZERO,
            turn: None,
            left: None,
            spare,
        })
    }

    /// Begins once more when the log can be written again. What is asked meanwhile is refused.
    pub(super) async fn begin_again(&self, gave_up: GaveUp) -> Option<(Begin, mpsc::Receiver<Command>)> {
        let GaveUp { mut commands, error } = gave_up;
        let mut pause = FIRST_PAUSE;
        let mut next = Instant::now() + pause;
        loop {
            tokio::select! {
                command = commands.recv() => match command? {
                    Command::End { how: End::Leave | End::Shutdown, reply } => {
                        let _ = reply.send(Ok(()));
                        return None;
                    }
                    command => command.refuse(AccessError::Store(error.again()).into()),
                },
                () = tokio::time::sleep_until(next) => match self.begin().await {
                    Ok(begin) => return Some((begin, commands)),
                    Err(error) if !error.may_pass() => {
                        tracing::error!(%error, "the session cannot be gone on with");
                        return None;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the session cannot be gone on with yet");
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        next = Instant::now() + pause;
                    }
                },
            }
        }
    }

    /// Claims the session and reads back what its owner must know.
    pub(super) async fn begin(&self) -> Result<Begin, AccessError> {
        let Self { parts, id, .. } = self;
        let (hub, standing, parts) = (self.hub.clone(), self.standing.clone(), parts.clone());
        let row = parts.store.session(id).await?;
        let epoch = match row.status {
            SessionStatus::Running | SessionStatus::Rescheduling
                if parts.settings.lifetime == Lifetime::Host =>
            {
                // An owner of this instance gave the session up in the middle of a turn.
                let (epoch, idle) = reclaim::cut(&parts.store, &row, &self.hub).await?;
                self.standing.send_modify(|standing| {
                    *standing = Standing {
                        busy: false,
                        idle,
                        gone: false,
                    }
                });
                epoch
            }
            _ => parts.store.claim_session(id).await?,
        };
        let queue = parts.store.queued(id).await?.into();
        let processes = parts.store.process_count(id).await?;
        let active = summary::active(&parts.store, id).await?;
        let (turn, left) = left_behind::read(&parts, &row).await?;
        let record = Record::read(row)?;
        let create = None;
        Ok(Begin {
            parts,
            record,
            epoch,
            create,
            hub,
            standing,
            queue,
            processes,
            active,
            turn,
            left,
            spare: None,
        })
    }
}
