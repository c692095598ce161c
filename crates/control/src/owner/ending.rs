//! Ending a session for good, for now, or without a trace.

use super::log::Batch;
use super::{Command, Owner, Quit, Work};
use crate::conclusion::Conclusion;
use crate::sessions::Parts;
use crate::{AccessError, CleanupFailure, Idle, Refused, SendError, place};
use domain::{SessionId, SessionStatus};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use wire::{Body, StopReason};

/// How a session is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// For good: the log and the files stay.
    Stop,
    /// With its log and its files.
    Remove,
    /// The same, unless it is running.
    Delete,
    /// Unless it is running. Its log and its files stay, and it takes nothing any more.
    Archive,
    /// With this instance: the session goes on with its next message.
    Shutdown,
    /// With this instance: the next one goes on with what is under way.
    Leave,
}

impl Owner {
    pub(super) async fn end(
        &mut self,
        how: End,
        reply: oneshot::Sender<Result<(), AccessError>>,
    ) -> Result<(), Quit> {
        if how == End::Leave {
            // The next instance knows nothing of a sandbox that had no message yet.
            if self.has_spare() {
                place::tell(&self.leave_place().await);
            }
            let _ = reply.send(Ok(()));
            return Err(Quit::Done(how));
        }
        if let Some(answer) = self.needs_no_end(how) {
            let _ = reply.send(answer);
            return self.unless_archived();
        }
        let mut batch = Batch::default();
        if let Some(turn) = &mut self.turn {
            // It does not go on.
            turn.kept.restarts = u32::MAX;
        }
        self.cut(&mut batch);
        let failures = self.leave_place().await;
        let session = self.record.row.id.clone();
        if matches!(how, End::Remove | End::Delete) {
            let removed = if failures.is_empty() {
                remove(&self.parts, &session).await
            } else {
                Err(AccessError::Cleanup { session, failures })
            };
            let kept = removed.is_err();
            if !kept {
                self.hub.show_deleted();
                self.trace.end("removed", None);
            }
            if kept && self.turn.is_some() {
                self.log_end(batch, how).await?;
            }
            let _ = reply.send(removed);
            return if kept { Ok(()) } else { Err(Quit::Done(how)) };
        }
        if let Err(quit) = self.log_end(batch, how).await {
            if let Quit::Store(error) = &quit {
                let _ = reply.send(Err(AccessError::Store(error.again())));
            }
            return Err(quit);
        }
        let _ = reply.send(if failures.is_empty() {
            Ok(())
        } else {
            Err(AccessError::Cleanup { session, failures })
        });
        match how {
            End::Archive => self.hub.rest(),
            End::Shutdown => self.hub.close(),
            _ => {}
        }
        Err(Quit::Done(how))
    }

    /// An archived session takes nothing, and needs no owner until it is deleted.
    pub(super) fn unless_archived(&self) -> Result<(), Quit> {
        match self.record.row.archived_at {
            Some(_) => Err(Quit::Done(End::Archive)),
            None => Ok(()),
        }
    }

    /// The answer to an end that the session must not have now, or has had.
    fn needs_no_end(&self, how: End) -> Option<Result<(), AccessError>> {
        let session = &self.record.row.id;
        let what = match how {
            End::Archive if self.record.row.archived_at.is_some() => return Some(Ok(())),
            End::Archive => "archived",
            End::Delete => "deleted",
            _ => return None,
        };
        let running = self.standing.borrow().busy;
        running.then(|| Err(Refused::running(session, what).into()))
    }

    /// Why the session takes nothing, if it does not.
    pub(super) fn shut(&self) -> Option<SendError> {
        let row = &self.record.row;
        if row.archived_at.is_some() {
            return Some(Refused::archived(&row.id).into());
        }
        let session = row.id.clone();
        (row.status == SessionStatus::Terminated).then_some(SendError::Terminated { session })
    }

    /// Answers what was asked of it after its end.
    pub(super) async fn refuse_rest(mut self, how: End) {
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            let session = self.record.row.id.clone();
            let error = match how {
                End::Remove | End::Delete => AccessError::NoSession { session }.into(),
                End::Stop => SendError::Terminated { session },
                End::Archive => Refused::archived(&session).into(),
                End::Shutdown | End::Leave => AccessError::ShuttingDown.into(),
            };
            match command {
                Command::End { how: next, reply } if matches!(how, End::Stop | End::Archive) => {
                    let _ = reply.send(self.end_after_end(next).await);
                }
                command => command.refuse(error),
            }
        }
    }

    /// Another end of a session that has one.
    async fn end_after_end(&self, how: End) -> Result<(), AccessError> {
        let session = &self.record.row.id;
        match how {
            End::Remove | End::Delete => {
                remove(&self.parts, session).await?;
                self.hub.show_deleted();
                Ok(())
            }
            End::Archive => Ok(self.parts.store.archive_session(session).await?),
            End::Stop | End::Shutdown | End::Leave => Ok(()),
        }
    }

    async fn log_end(&mut self, mut batch: Batch, how: End) -> Result<(), Quit> {
        let was_working = self.turn.take();
        if let Some(turn) = &was_working {
            self.active += turn.ran();
        }
        let mut idle = Idle {
            terminated: how == End::Stop,
            ..Idle::default()
        };
        let mut dropped = Vec::new();
        if was_working.is_some() {
            let sums = self.settle().await;
            if how == End::Archive {
                idle.stop_reason = Some(StopReason::EndTurn);
            } else if how != End::Stop {
                let conclusion =
                    Conclusion::broken("hostler was ended while the agent was working: this turn was cut");
                dropped = self.drop_what_waits(&conclusion);
                let conclusion = conclusion.with_dropped(dropped.len());
                idle.stop_reason = Some(conclusion.stop_reason);
                idle.error = conclusion.error;
                if let Some(error) = idle.error.clone() {
                    batch.body(Body::SessionError { error });
                }
            }
            batch.body(self.usage(&sums));
        }
        match &idle.stop_reason {
            _ if how == End::Stop => batch.body(Body::SessionStatusTerminated),
            Some(stop_reason) => {
                batch.body(Body::SessionStatusIdle {
                    stop_reason: stop_reason.clone(),
                    stop_details: None,
                });
            }
            None => {}
        }
        let archives = how == End::Archive;
        if archives || !batch.is_empty() {
            let append = store::Append {
                archives,
                processed: dropped,
                ..self.append(&batch)
            };
            self.write(append, batch).await?;
        }
        if archives {
            self.record.row.archived_at = Some(OffsetDateTime::now_utc());
        }
        if let Some(turn) = was_working {
            let took_ms = turn.ran().as_millis() as u64;
            tracing::info!(turn = %turn.kept.message, took_ms, "a turn was ended");
            let stop_reason = idle.stop_reason.as_ref().map_or("terminated", StopReason::kind);
            self.trace.end(stop_reason, idle.error.as_ref());
        }
        self.stand(false, idle);
        Ok(())
    }

    /// Ends the sandbox and all in it, also one that is still being built.
    pub(super) async fn leave_place(&mut self) -> Vec<CleanupFailure> {
        let mut failures = Vec::new();
        if let Work::Starting { task, sandbox } = std::mem::replace(&mut self.work, Work::Nothing) {
            task.abort();
            failures.extend(place::destroy(&self.parts, &sandbox).await);
        }
        if let Some(place) = self.place.take() {
            failures.extend(place.tear_down(&self.parts).await);
        }
        failures
    }
}

/// Removes the files of all sandboxes that a session had, and then the session.
pub(crate) async fn remove(parts: &Parts, session: &SessionId) -> Result<(), AccessError> {
    let mut failures = Vec::new();
    for sandbox in parts.store.sandboxes_of(session).await? {
        failures.extend(place::remove_files(parts, &sandbox.id).await.err());
    }
    if failures.is_empty() {
        Ok(parts.store.remove_session(session).await?)
    } else {
        Err(AccessError::Cleanup {
            session: session.clone(),
            failures,
        })
    }
}
