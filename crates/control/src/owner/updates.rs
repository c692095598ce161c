//! Changes of a session's own settings: stored and told, then applied to what runs.

use super::log::Batch;
use super::{Owner, Quit, Work};
use crate::update::{Budgeting, Refused, Update};
use crate::{SendError, place};
use std::sync::Arc;
use tokio::sync::oneshot;

impl Owner {
    pub(super) async fn update(
        &mut self,
        update: Update,
        reply: oneshot::Sender<Result<(), SendError>>,
    ) -> Result<(), Quit> {
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
        if changed.tools.is_some() && self.turn.is_some() {
            let refused = Refused {
                code: Some("session_running"),
                message: "the agent is at work: its tools can change when its turn has ended".to_owned(),
                conflict: true,
            };
            let _ = reply.send(Err(SendError::Refused(refused)));
            return Ok(());
        }
        let mut settings = self.record.settings.clone();
        match changed.budget {
            Budgeting::Same => {}
            Budgeting::Limit(cost) => settings.max_cost = Some(cost),
            Budgeting::Unlimited => settings.max_cost = None,
        }
        if let Some(tools) = &changed.tools {
            settings.tools = Some(tools.clone());
        }
        let mut batch = Batch::default();
        batch.body(told);
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
            Err(error) => return super::inputs::refuse(reply, error),
        }
        self.record.row.title = changed.title;
        self.record.settings = settings;
        if let (Some(place), true) = (&self.place, changed.budget != Budgeting::Same) {
            place.set_budget(self.record.settings.max_cost);
        }
        let _ = reply.send(Ok(()));
        if let Some(tools) = changed.tools {
            self.tools = Some(Arc::new(tools));
            // The next message starts a runtime that knows of them.
            if let Work::Running(running) = std::mem::replace(&mut self.work, Work::Nothing)
                && !running.runtime.remove().await
            {
                place::tell(&self.leave_place().await);
            }
        }
        Ok(())
    }
}
