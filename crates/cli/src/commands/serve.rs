//! `hostler serve`: sessions over HTTP until it is told to end.
//!
//! SIGTERM leaves sandboxes to the next server; Ctrl-C ends them, and their sessions go on in new ones. SIGUSR2 starts the
//! program again, which takes over: no connection is refused, and streams stay here until they end.

mod listeners;
mod news;
mod upgrade;

use crate::commands::{end, start};
use crate::services::{How, Running, Services, StartOptions};
use crate::settings::{GivenKey, ServeSettings};
use crate::versions::Installed;
use control::{Lifetime, Readers};
use handover::{Post, Predecessor, Successor};
use hosted::{AdminKey, Hosted, Origin, Resources, ServerAddress};
use listeners::Listeners;
use runtimes::Runtimes;
use sd_notify::NotifyState;
use server::{Api, Ending, ServeError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use terminal::{Failure, Signals, Terminal};
use tokio::task::JoinHandle;
use upgrade::Upgrades;

pub use upgrade::APART;

pub(crate) async fn serve(
    settings: &ServeSettings,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut upgrades = Upgrades::of_process(settings)?;
    if let Some(notice) = &settings.notice {
        news::notice(notice, terminal);
    }
    terminal.status("starting");
    let (mut predecessor, listeners) = find(settings).await?;
    let options = StartOptions {
        data: settings.data.clone(),
        upstream: settings.upstream.clone(),
        pool: settings.pool,
        lifetime: Lifetime::Session,
        tuning: settings.tuning,
    };
    loop {
        if let Some(predecessor) = &predecessor {
            let released = predecessor.released().await;
            released.map_err(|error| Failure::failed("handover", error))?;
        }
        let running = start(services, &options, signals).await?;
        let serving = match Serving::begin(&running, &listeners, settings, terminal).await {
            Ok(serving) => serving,
            Err(failure) => {
                end(running, How::Leave, signals).await;
                return Err(failure);
            }
        };
        if let Some(predecessor) = predecessor.take() {
            predecessor.serving().await;
        }
        // Where no service manager listens, nobody is told.
        sd_notify::notify(
            false,
            &[NotifyState::Ready, NotifyState::MainPid(std::process::id())],
        )
        .ok();
        let traces = running.traces.clone();
        let again = serving
            .until_the_end(running, &listeners, &mut upgrades, terminal, signals)
            .await;
        traces.finish().await;
        if !again? {
            return Ok(());
        }
    }
}

/// Who served before, where there is one and it is to be taken over, and what to listen on.
async fn find(settings: &ServeSettings) -> Result<(Option<Predecessor>, Listeners), Failure> {
    if settings.take_over
        && let Some((predecessor, listeners)) = Listeners::take_over(&settings.data).await?
    {
        listeners.compare(settings, "the listeners of the server before this one are taken");
        return Ok((Some(predecessor), listeners));
    }
    Ok((None, Listeners::open(settings)?))
}

#[derive(Debug, thiserror::Error)]
#[error("what a server keeps for others cannot be put into {path}", path = path.display())]
struct Unusable {
    path: PathBuf,
    source: io::Error,
}

/// A server that answers.
struct Serving {
    post: Post,
    noted: ServerAddress,
    ending: Ending,
    task: JoinHandle<Result<(), ServeError>>,
    /// For requests that are being answered when the next server takes over.
    answers: Duration,
    /// For streams that are open then; their clients come back to the next one.
    streams: Duration,
}

/// What ends it.
enum Next {
    End(How),
    HandOver(Successor),
    /// The server itself has failed.
    Over(Result<(), Failure>),
}

impl Serving {
    async fn begin(
        running: &Running,
        listeners: &Listeners,
        settings: &ServeSettings,
        terminal: &mut Terminal,
    ) -> Result<Self, Failure> {
        let failed = |source| {
            let path = running.data.clone();
            Failure::failed("start", Unusable { path, source })
        };
        let given = settings.admin_key.as_ref();
        let (admin, origin) = AdminKey::find(&running.data, given.map(|given| given.key.as_str()))
            .map_err(|error| Failure::failed("start", error))?;
        let shown = key_line(&admin, origin, &running.data, given);
        let resources = Resources::open(running.store.clone(), admin)
            .await
            .map_err(|error| Failure::failed("store", error))?
            .with_sandbox_limits(settings.tuning.limits);
        let url = listeners.url()?;
        let noted = ServerAddress::note(&running.data, &url).map_err(failed)?;
        let post = Post::open(&running.data).map_err(failed)?;
        let versions = Arc::new(Installed(Runtimes::new(&running.data)));
        let hosted = Hosted::new(running.control.clone(), resources.clone()).with_versions(versions);
        let api = Api {
            sessions: Some(hosted),
            resources,
            upstream: running.upstream.clone(),
            metrics: running.metrics.clone(),
            traces: running.traces.clone(),
        };
        let server = settings.server.clone().build(api);
        let ending = server.ending();
        let task = tokio::spawn(server.run(listeners.to_serve()?));
        terminal.quiet();
        news::serving(running, &url, &shown, terminal);
        Ok(Self {
            post,
            noted,
            ending,
            task,
            answers: settings.server.limits.drain,
            streams: settings.streams,
        })
    }

    /// Whether to start again: the one that was to take over did not.
    async fn until_the_end(
        mut self,
        running: Running,
        listeners: &Listeners,
        upgrades: &mut Upgrades,
        terminal: &mut Terminal,
        signals: &mut Signals,
    ) -> Result<bool, Failure> {
        match self.next(listeners, upgrades, signals).await {
            Next::Over(outcome) => {
                end(running, How::Leave, signals).await;
                outcome.map(|()| false)
            }
            Next::End(how) => {
                sd_notify::notify(false, &[NotifyState::Stopping]).ok();
                self.ending.cut();
                news::say("ending: open requests are answered first", terminal);
                let served = tokio::select! {
                    outcome = &mut self.task => outcome_of(outcome),
                    _ = signals.next() => Ok(()),
                };
                terminal.status("ending");
                end(running, how, signals).await;
                served.map(|()| false)
            }
            Next::HandOver(successor) => {
                tracing::info!("the next server takes over");
                self.ending.close();
                if tokio::time::timeout(self.answers, self.ending.answered())
                    .await
                    .is_err()
                {
                    tracing::warn!(after = ?self.answers, "requests that are still not answered are cut");
                }
                // To its end, whatever is asked meanwhile: the next server is told that the data directory is free.
                let readers = ({ running }.shutdown)(How::HandOver).await;
                self.noted.leave();
                if let Err(error) = successor.release().await {
                    tracing::error!(%error, "the next server did not take over: this one goes on");
                    drop(readers);
                    self.ending.cut();
                    return outcome_of(self.task.await).map(|()| true);
                }
                news::say("the next server has taken over", terminal);
                linger(readers, self.streams, signals).await;
                self.ending.cut();
                outcome_of(self.task.await).map(|()| false)
            }
        }
    }

    async fn next(&mut self, listeners: &Listeners, upgrades: &mut Upgrades, signals: &mut Signals) -> Next {
        loop {
            tokio::select! {
                outcome = &mut self.task => return Next::Over(outcome_of(outcome)),
                asked = signals.next() => {
                    return Next::End(if asked.now { How::Leave } else { How::End });
                }
                () = upgrades.next() => upgrades.start_successor(),
                successor = self.post.next() => match give(&successor, listeners).await {
                    Ok(()) => return Next::HandOver(successor),
                    Err(failure) => tracing::error!(error = failure.message, "a successor did not get to take over"),
                },
            }
        }
    }
}

async fn give(successor: &Successor, listeners: &Listeners) -> Result<(), Failure> {
    let given = successor.give(listeners.try_clone()?).await;
    given.map_err(|error| Failure::failed("handover", error))
}

/// Streams that are still open see what the next server does, until they end.
async fn linger(readers: Option<Readers>, most: Duration, signals: &mut Signals) {
    let Some(mut readers) = readers else { return };
    tokio::select! {
        outcome = readers.follow() => if let Err(error) = outcome {
            tracing::error!(%error, "open streams are ended: the log cannot be read");
        },
        () = tokio::time::sleep(most) => {}
        _ = signals.next() => {}
    }
}

fn outcome_of(outcome: Result<Result<(), ServeError>, tokio::task::JoinError>) -> Result<(), Failure> {
    match outcome {
        Ok(served) => served.map_err(|error| Failure::failed("serve", error)),
        Err(error) => Err(Failure::failed("serve", error)),
    }
}

/// A new key is shown once; after that its file is named.
fn key_line(admin: &AdminKey, origin: Origin, data: &Path, given: Option<&GivenKey>) -> String {
    let of_file = |path: &Path| format!("\"$(cat '{}')\"", path.display());
    match (origin, given.and_then(|given| given.file.as_deref())) {
        (Origin::Made, _) => admin.reveal().to_owned(),
        (Origin::Given, None) => "$HOSTLER_API_KEY".to_owned(),
        (Origin::Given, Some(path)) => of_file(path),
        (Origin::Kept, _) => of_file(&data.join("admin.key")),
    }
}
