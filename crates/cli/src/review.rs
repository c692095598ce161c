//! The changes that a session left: read, shown and, on the user's word, applied.

use crate::reach::quoted;
use crate::render::diff::for_terminal;
use change_set::{
    Allowed, Applied, ApplyError, ChangeSet, Faults, GuestSource, Options, Outcome, Source, View, printable,
};
use domain::SessionId;
use sandbox::Backend;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use terminal::{Failure, Signals, Terminal};

/// Conflicts that an error names; the summary shows more.
const NAMED_CONFLICTS: usize = 5;

/// A session's change set, with its reader, which lives as long.
pub(crate) struct Review {
    pub(crate) set: ChangeSet,
    source: Box<dyn Source>,
    session: SessionId,
    data: PathBuf,
    _reader: Box<dyn Send + Sync>,
}

impl Review {
    /// Reads what a session left; nothing if it had no workspace, or its files were removed.
    pub(crate) async fn open(
        backend: &dyn Backend,
        session: &store::Session,
        data: &Path,
    ) -> Result<Option<Self>, Failure> {
        let (Some(workspace), Some(sandbox), Some(started)) =
            (&session.workspace, &session.sandbox, session.view_started_at)
        else {
            return Ok(None);
        };
        let reader = match backend.read_changes(sandbox).await {
            Ok(reader) => reader,
            Err(sandbox::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(Failure::failed("changes", error)),
        };
        let masked = if data.starts_with(workspace) {
            vec![data.to_owned()]
        } else {
            Vec::new()
        };
        let view = View {
            workspace: workspace.clone(),
            masked,
            // The store keeps microseconds: a file from the same moment as the view must not look newer.
            started: std::time::SystemTime::from(started) + Duration::from_nanos(999),
            data: data.to_owned(),
            session: session.id.clone(),
        };
        let source = Box::new(GuestSource::connect(&reader.guest_socket));
        Self::of(source, view, reader.keep).await.map(Some)
    }

    pub(crate) async fn of(
        source: Box<dyn Source>,
        view: View,
        reader: Box<dyn Send + Sync>,
    ) -> Result<Self, Failure> {
        let hint = format!(
            "hostler sessions diff {} tries again",
            named(&view.session, &view.data)
        );
        let set = change_set::collect(&*source, &view)
            .await
            .map_err(|error| Failure::failed("changes", error).hint(hint))?;
        Ok(Self {
            set,
            source,
            session: view.session,
            data: view.data,
            _reader: reader,
        })
    }

    /// Applies what is allowed. A signal stops it and puts everything back.
    pub(crate) async fn apply(&self, allowed: Allowed, signals: &mut Signals) -> Result<Applied, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let options = Options {
            data: self.data.clone(),
            session: self.session.clone(),
            allowed,
            interrupted: Arc::clone(&interrupted),
            faults: Faults::default(),
        };
        let applying = change_set::apply(&*self.source, &self.set, &options);
        tokio::pin!(applying);
        loop {
            tokio::select! {
                outcome = &mut applying => return outcome.map_err(|error| self.explain(error)),
                _ = signals.next() => interrupted.store(true, Ordering::Relaxed),
            }
        }
    }

    fn explain(&self, error: ApplyError) -> Failure {
        let session = named(&self.session, &self.data);
        let retry = format!("hostler sessions apply {session} tries again");
        match &error {
            ApplyError::Conflicts { conflicts } => {
                let mut named: Vec<String> = conflicts
                    .iter()
                    .take(NAMED_CONFLICTS)
                    .map(|conflict| format!("{}: {}", conflict.path, conflict.reason))
                    .collect();
                if conflicts.len() > NAMED_CONFLICTS {
                    named.push(format!("and {} more", conflicts.len() - NAMED_CONFLICTS));
                }
                let message = format!(
                    "nothing was applied, since you changed it too: {}",
                    named.join("; ")
                );
                let hint = format!(
                    "take the agent's version by hand from `hostler sessions diff {session}`, or undo your change"
                );
                Failure::said("conflict", message).hint(hint)
            }
            ApplyError::Interrupted => Failure::failed("interrupted", error).hint(retry),
            ApplyError::RollbackIncomplete { .. } => {
                Failure::failed("apply", error).hint("the next start of hostler puts back what it can")
            }
            _ => Failure::failed("apply", error).hint(retry),
        }
    }

    /// Writes the whole change set as a unified diff.
    pub(crate) async fn write_diff(&self, terminal: &mut Terminal) -> Result<(), Failure> {
        for entry in &self.set.entries {
            let diff = change_set::unified(&*self.source, &self.set, entry)
                .await
                .map_err(|error| Failure::failed("changes", error))?;
            if terminal.out_is_terminal() {
                let shown = for_terminal(&diff, terminal.out_style());
                terminal.output(&shown);
            } else {
                terminal.output(&diff);
            }
        }
        Ok(())
    }
}

/// As other commands find it.
fn named(session: &SessionId, data: &Path) -> String {
    format!("{session} --data {}", quoted(&data.to_string_lossy()))
}

/// Nothing of the files is needed any more: all of it is in the workspace. The session's log stays.
pub(crate) async fn discard(backend: &dyn Backend, session: &store::Session) -> Result<(), Failure> {
    match &session.sandbox {
        Some(sandbox) => backend
            .remove_files(sandbox)
            .await
            .map_err(|error| Failure::failed("sandbox", error)),
        None => Ok(()),
    }
}

/// Ends what an earlier hostler left half applied, and says so.
pub(crate) fn recover(data: &Path, terminal: &mut Terminal) {
    for recovered in change_set::recover(data) {
        let line = match recovered {
            Ok(recovered) => {
                let workspace = printable(recovered.workspace.as_os_str().as_encoded_bytes());
                match recovered.outcome {
                    Outcome::Completed => format!("an interrupted apply to {workspace} is complete"),
                    Outcome::RolledBack => format!("an interrupted apply to {workspace} was undone"),
                    Outcome::Kept { paths, staging } => format!(
                        "an interrupted apply to {workspace} was undone, except for {} that you changed since; what was \
                         there before is in {}",
                        if paths.len() == 1 {
                            "a file".to_owned()
                        } else {
                            format!("{} files", paths.len())
                        },
                        printable(staging.as_os_str().as_encoded_bytes()),
                    ),
                }
            }
            Err(error) => Failure::failed("recover", error).message,
        };
        let line = terminal.style().yellow(&line);
        terminal.line(&line);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{Report, Workspace};
    use std::fs;
    use terminal::Asked;
    use tokio::sync::mpsc;

    async fn review(workspace: &Workspace, report: Report) -> Review {
        Review::of(Box::new(report), workspace.view(), Box::new(()))
            .await
            .unwrap()
    }

    fn nobody() -> (mpsc::Sender<Asked>, Signals) {
        let (sender, channel) = mpsc::channel(1);
        (sender, Signals::from_channel(channel))
    }

    #[tokio::test]
    async fn what_is_allowed_is_applied() {
        let workspace = Workspace::with(&[("f", "old\n")]);
        let review = review(
            &workspace,
            Report::default().file("f", "new\n", 0o644).file("x", "", 0o755),
        )
        .await;
        let (_sender, mut signals) = nobody();
        let applied = review.apply(Allowed::default(), &mut signals).await.unwrap();
        assert_eq!(applied.paths.len(), 1);
        assert_eq!(fs::read_to_string(workspace.path().join("f")).unwrap(), "new\n");
        assert!(!workspace.path().join("x").exists());
    }

    #[tokio::test]
    async fn a_conflict_says_where_it_is_and_how_to_go_on() {
        let workspace = Workspace::with(&[("f", "old\n")]);
        workspace.change_meanwhile("f", "user\n");
        let review = review(&workspace, Report::default().file("f", "new\n", 0o644)).await;
        let (_sender, mut signals) = nobody();
        let failure = review.apply(Allowed::default(), &mut signals).await.unwrap_err();
        assert_eq!(failure.kind, "conflict");
        assert!(
            failure
                .message
                .ends_with("f: it was made or changed after the agent began"),
            "{failure}"
        );
        assert!(failure.hint.unwrap().contains("hostler sessions diff sesn_"));
        assert_eq!(fs::read_to_string(workspace.path().join("f")).unwrap(), "user\n");
    }

    #[tokio::test]
    async fn an_interrupt_applies_nothing_or_comes_too_late() {
        let files: Vec<String> = (0..500).map(|index| format!("{index:03}")).collect();
        let workspace = Workspace::with(&[]);
        let report = files
            .iter()
            .fold(Report::default(), |report, name| report.file(name, "x", 0o644));
        let review = review(&workspace, report).await;
        let (sender, mut signals) = nobody();
        sender.send(Asked { now: false }).await.unwrap();
        let outcome = review.apply(Allowed::default(), &mut signals).await;
        let there = fs::read_dir(workspace.path()).unwrap().count();
        match outcome {
            Ok(applied) => assert_eq!((applied.paths.len(), there), (500, 500)),
            Err(failure) => assert_eq!((failure.kind, there), ("interrupted", 0)),
        }
    }
}
