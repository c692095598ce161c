//! `hostler serve`: sessions over HTTP until it is told to end.
//!
//! SIGTERM leaves sandboxes to the next server; Ctrl-C ends them, and their sessions go on in new ones. SIGUSR2 starts the
//! program again, which takes over: no connection is refused, and streams stay here until they end.

mod listeners;
mod upgrade;

use crate::arguments::ServeArguments;
use crate::check::{choose_upstream, data_directory};
use crate::commands::{end, start};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::render::facts::missing_line;
use crate::render::text;
use crate::services::{How, Running, Services, StartOptions};
use crate::signals::Signals;
use crate::terminal::Terminal;
use control::{AdminKey, Hosted, Lifetime, Origin, Readers, Resources, ServerAddress};
use handover::{Post, Predecessor, Successor};
use listeners::Listeners;
use sd_notify::NotifyState;
use server::{Api, Config, Ending, ServeError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use upgrade::Upgrades;

/// For requests that are being answered when the next server takes over.
const ANSWERS: Duration = Duration::from_secs(20);
/// For streams that are open then; their clients come back to the next one.
const STREAMS: Duration = Duration::from_mins(10);

pub(crate) async fn serve(
    arguments: &ServeArguments,
    environment: &Environment,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let data = data_directory(&arguments.data, environment)?;
    let (upstream, notice) = choose_upstream(arguments.simulate.as_deref(), None, environment)?;
    let mut upgrades = Upgrades::of_process()?;
    if let Some(notice) = notice {
        let line = terminal.style().yellow(&text::safe(&notice));
        terminal.line(&line);
    }
    terminal.status("starting");
    let (mut predecessor, listeners) = find(arguments, &data, environment).await?;
    let options = StartOptions {
        data,
        upstream,
        pool: arguments.pool as usize,
        lifetime: Lifetime::Session,
    };
    loop {
        if let Some(predecessor) = &predecessor {
            let released = predecessor.released().await;
            released.map_err(|error| Failure::failed("handover", error))?;
        }
        let running = start(services, &options, signals).await?;
        let serving = match Serving::begin(&running, &listeners, arguments, environment, terminal).await {
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
async fn find(
    arguments: &ServeArguments,
    data: &Path,
    environment: &Environment,
) -> Result<(Option<Predecessor>, Listeners), Failure> {
    if arguments.take_over
        && let Some((predecessor, listeners)) = Listeners::take_over(data).await?
    {
        return Ok((Some(predecessor), listeners));
    }
    Ok((None, Listeners::open(arguments, environment)?))
}

/// A server that answers.
struct Serving {
    post: Post,
    noted: ServerAddress,
    ending: Ending,
    task: JoinHandle<Result<(), ServeError>>,
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
        arguments: &ServeArguments,
        environment: &Environment,
        terminal: &mut Terminal,
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::failed("start", error);
        let given = environment.server_key.as_ref().and_then(|key| key.to_str());
        let (admin, origin) =
            AdminKey::find(&running.data, given).map_err(|error| Failure::failed("start", error))?;
        let shown = key_line(&admin, origin, &running.data);
        let resources = Resources::open(running.store.clone(), admin)
            .await
            .map_err(|error| Failure::failed("store", error))?;
        let url = listeners.url()?;
        let noted = ServerAddress::note(&running.data, &url).map_err(failed)?;
        let post = Post::open(&running.data).map_err(failed)?;
        let api = Api {
            sessions: Some(Hosted::new(running.control.clone(), resources.clone())),
            resources,
            upstream: running.upstream.clone(),
            metrics: running.metrics.clone(),
            traces: running.traces.clone(),
        };
        let config = Config {
            open_metrics: arguments.open_metrics,
            ..Config::default()
        };
        let server = config.build(api);
        let ending = server.ending();
        let task = tokio::spawn(server.run(listeners.to_serve()?));
        terminal.quiet();
        welcome(running, &url, &shown, terminal);
        Ok(Self {
            post,
            noted,
            ending,
            task,
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
                self.ending.cut();
                terminal.line("ending: open requests are answered first");
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
                if tokio::time::timeout(ANSWERS, self.ending.answered())
                    .await
                    .is_err()
                {
                    tracing::warn!(after = ?ANSWERS, "requests that are still not answered are cut");
                }
                let readers = end(running, How::HandOver, signals).await;
                self.noted.leave();
                if let Err(error) = successor.release().await {
                    tracing::error!(%error, "the next server did not take over: this one goes on");
                    drop(readers);
                    self.ending.cut();
                    return outcome_of(self.task.await).map(|()| true);
                }
                terminal.line("the next server has taken over");
                linger(readers, signals).await;
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
async fn linger(readers: Option<Readers>, signals: &mut Signals) {
    let Some(mut readers) = readers else { return };
    tokio::select! {
        outcome = readers.follow() => if let Err(error) = outcome {
            tracing::error!(%error, "open streams are ended: the log cannot be read");
        },
        () = tokio::time::sleep(STREAMS) => {}
        _ = signals.next() => {}
    }
}

fn outcome_of(outcome: Result<Result<(), ServeError>, tokio::task::JoinError>) -> Result<(), Failure> {
    match outcome {
        Ok(served) => served.map_err(|error| Failure::failed("serve", error)),
        Err(error) => Err(Failure::failed("serve", error)),
    }
}

/// The two lines that point an official SDK at this server.
fn welcome(running: &Running, url: &str, key: &str, terminal: &mut Terminal) {
    let style = terminal.style();
    terminal.line(&format!(
        "hostler {} serves {url} from {}",
        env!("CARGO_PKG_VERSION"),
        running.data.display()
    ));
    if let Some(line) = missing_line(&running.report) {
        terminal.line(&style.yellow(&line));
    }
    terminal.output(format!("export ANTHROPIC_BASE_URL={url}\nexport ANTHROPIC_API_KEY={key}\n").as_bytes());
}

/// A new key is shown once; after that its file is named.
fn key_line(admin: &AdminKey, origin: Origin, data: &Path) -> String {
    match origin {
        Origin::Made => admin.reveal().to_owned(),
        Origin::Given => "$HOSTLER_API_KEY".to_owned(),
        Origin::Kept => format!("\"$(cat '{}')\"", data.join("admin.key").display()),
    }
}

impl ServeArguments {
    /// Where this server keeps its sessions; the reason in words where there is no such place.
    pub fn data_directory(&self, environment: &Environment) -> Result<PathBuf, String> {
        data_directory(&self.data, environment).map_err(|failure| failure.message)
    }
}
