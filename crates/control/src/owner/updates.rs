//! Changes of a session's own settings: stored and told, then applied to what runs. A turn keeps the tools that it began
//! with: calls that wait were judged by them.

use super::log::Batch;
use super::{Owner, Quit, Work};
use crate::Toolset;
use crate::record::SessionSettings;
use crate::update::{Budgeting, Refused, Update};
use crate::{SendError, place};
use std::sync::Arc;
use tokio::sync::oneshot;
use wire::Body;

impl Owner {
    pub(super) async fn update(
        &mut self,
        update: Update,
        reply: oneshot::Sender<Result<(), SendError>>,
    ) -> Result<(), Quit> {
        if let Some(error) = self.shut() {
            let _ = reply.send(Err(error));
            return self.unless_archived();
        }
        // What the API alone keeps of the session is not kept here.
        let stored = self.parts.store.session(&self.record.row.id).await;
        let row = match stored {
            Ok(row) => row,
            Err(error) => return super::inputs::refuse(reply, error),
        };
        let changed = match (update.decide)(&row) {
            Ok(changed) => changed,
            Err(refused) => {
                let _ = reply.send(Err(SendError::Refused(refused)));
                return Ok(());
            }
        };
        let Some(told) = changed.told else {
            let _ = reply.send(Ok(()));
            return Ok(());
        };
        if changed.tools.is_some() && self.standing.borrow().busy {
            let refused = Refused::running(&self.record.row.id, "given other tools");
            let _ = reply.send(Err(SendError::Refused(refused)));
            return Ok(());
        }
        let turn_before = self.turn.clone();
        let settings = self.changed_settings(changed.budget, changed.tools.as_ref());
        let mut batch = Batch::default();
        batch.body(told);
        // A turn that reached the budget has left what waits.
        let goes_on = changed.budget != Budgeting::Same
            && self.turn.is_none()
            && !self.queue.is_empty()
            && !self.begins_when_there;
        if goes_on {
            batch.body(Body::SessionStatusRunning);
        }
        let mut append = store::Append {
            lines: None,
            ..self.append(&batch)
        };
        append.settings = Some(Box::new(store::ChangedSettings {
            title: changed.title.clone(),
            settings: serde_json::to_value(&settings).unwrap_or_default(),
            resource: row.hosting.is_some().then_some(changed.resource),
        }));
        match self.parts.store.append(append.clone()).await {
            Ok(appended) => self.stored(&append, appended, batch),
            Err(error) => {
                self.turn = turn_before;
                return super::inputs::refuse(reply, error);
            }
        }
        self.record.row.title = changed.title;
        self.record.settings = settings;
        if let (Some(place), true) = (&self.place, changed.budget != Budgeting::Same) {
            place.set_budget(self.record.settings.max_cost);
        }
        let _ = reply.send(Ok(()));
        if changed.tools.is_some() && self.turn.is_none() {
            self.renew_tools().await;
        }
        if goes_on {
            return self.begin_what_waits().await;
        }
        Ok(())
    }

    fn changed_settings(&mut self, budget: Budgeting, tools: Option<&Toolset>) -> SessionSettings {
        let mut settings = self.record.settings.clone();
        match budget {
            Budgeting::Same => {}
            Budgeting::Limit(cost) => settings.max_cost = Some(cost),
            Budgeting::Unlimited => settings.max_cost = None,
        }
        if let Some(tools) = tools {
            let before = settings.tools.replace(tools.clone());
            if let Some(turn) = self.turn.as_mut().filter(|turn| turn.kept.tools.is_none()) {
                turn.kept.tools = before;
            }
        }
        settings
    }

    /// The next message starts a runtime that has the session's present tools.
    pub(super) async fn renew_tools(&mut self) {
        self.tools = self.record.settings.tools.clone().map(Arc::new);
        if self.has_spare() {
            // It was made for the tools before.
            place::tell(&self.leave_place().await);
            return;
        }
        if let Some(place) = &self.place {
            place.set_tools(self.tools.as_deref());
        }
        match std::mem::replace(&mut self.work, Work::Nothing) {
            Work::Running(running) => {
                if !running.runtime.remove().await {
                    place::tell(&self.leave_place().await);
                }
            }
            starting @ Work::Starting { .. } => {
                self.work = starting;
                self.renews = true;
            }
            Work::Nothing => {}
        }
    }
}
