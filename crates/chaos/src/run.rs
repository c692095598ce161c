//! One run, from the first start of the server to the last comparison.

use crate::arguments::Arguments;
use crate::ledgers::{self, Compared, Ours, Seen};
use crate::random::Random;
use crate::schedule::{self, Kill, With};
use crate::script;
use crate::subject::Subject;
use crate::tally::Tally;
use crate::verdict::Broken;
use bench::Report;
use domain::SessionId;
use futures_util::future::try_join_all;
use simulated_model::{Options, Script};
use stage::{Failure, Kind, Place, Progress, Server, Setup, Victim, Victims};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{Instance, Store};

/// Of the model's ledger: all of it.
const LEDGER: usize = 10_000_000;
/// One session in so many asks before each call.
const ASKS: usize = 3;
/// For a runtime or a guest to be there, and for the model to see that a connection is gone.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// What came of a run that came to its end.
pub struct Outcome {
    pub report: Report,
    pub broken: Vec<Broken>,
    /// Where everything is, if it was kept.
    pub kept: Option<PathBuf>,
}

/// A run that did not come to its end; the data directory and the server's log are kept.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error("{}", .0.in_full())]
    NoPlace(Failure),
    #[error("{}; everything is in {}", source.in_full(), kept.display())]
    Middle { kept: PathBuf, source: Failure },
}

/// Runs it with this program as the server.
pub async fn chaos(
    program: &Path,
    arguments: &Arguments,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Outcome, Stopped> {
    let place = Place::new().map_err(Stopped::NoPlace)?;
    let run = Run {
        arguments,
        progress,
        place: &place,
        random: Random::new(seed),
        tally: Tally::default(),
    };
    match run.whole(program).await {
        Ok((report, broken)) => {
            let kept = (!broken.is_empty()).then(|| place.keep());
            Ok(Outcome { report, broken, kept })
        }
        Err(source) => Err(Stopped::Middle {
            kept: place.keep(),
            source,
        }),
    }
}

/// A seed that was not asked for.
pub fn another_seed() -> u64 {
    Random::another_seed()
}

struct Run<'a> {
    arguments: &'a Arguments,
    progress: &'a dyn Progress,
    place: &'a Place,
    random: Random,
    tally: Tally,
}

impl Run<'_> {
    async fn whole(mut self, program: &Path) -> Result<(Report, Vec<Broken>), Failure> {
        let report = Report::begin("chaos", self.arguments.kills as usize);
        let model = model().await?;
        let mut setup = Setup::new(program, self.place, &model.base_url());
        self.progress.at("starting");
        let mut server = setup.start().await?;
        let subjects = self.subjects(&server).await?;
        self.progress.at("killing");
        for number in 0..self.arguments.kills {
            server = self.kill(number, server, &mut setup).await?;
            self.progress.step(number + 1, self.arguments.kills);
        }
        self.progress.at("comparing");
        subjects.iter().for_each(Subject::no_more);
        let sessions: Vec<String> = subjects.iter().map(|subject| subject.session.clone()).collect();
        let known = try_join_all(subjects.into_iter().map(Subject::over)).await?;
        let mut broken = Vec::new();
        for mut known in known {
            self.tally.knows(&known);
            broken.append(&mut known.refused);
            broken.extend(known.evidence.judge());
        }
        server.end().await?;
        broken.extend(self.left_behind());
        broken.extend(panics(&setup.log));
        let compared = self.ledgers(&model, &sessions).await?;
        broken.extend(compared.broken.iter().cloned());
        broken.extend(self.tally.missing(&compared));
        model.stop().await;
        Ok((self.tally.report(&compared, broken.len(), report), broken))
    }

    async fn subjects(&mut self, server: &Server) -> Result<Vec<Subject>, Failure> {
        let admin = server.admin()?;
        let (plain, asking) = (admin.make(false).await?, admin.make(true).await?);
        let mut subjects = Vec::new();
        for number in 0..self.arguments.sessions as usize {
            let api = admin.another(&format!("chaos-{number}")).await?;
            let made = if number % ASKS == 1 { &asking } else { &plain };
            subjects.push(Subject::begin(api, made, number, self.random.fork()).await?);
        }
        Ok(subjects)
    }

    /// Kills the server, and whoever dies with it, and starts the next one.
    async fn kill(&mut self, number: u64, server: Server, setup: &mut Setup) -> Result<Server, Failure> {
        let Kill { after, with, then } = schedule::kill(number, &mut self.random);
        let chosen = self.random.below(u64::MAX);
        tokio::time::sleep(after).await;
        let victims = Victims::of(&setup.data);
        let mut died: BTreeMap<Kind, u64> = with.kinds().iter().map(|kind| (*kind, 0)).collect();
        match with {
            With::Nobody | With::Jailer => {}
            With::Runtime | With::Guest => {
                for (kind, died) in &mut died {
                    *died += one_of(&victims, *kind, chosen).await?;
                }
                tokio::time::sleep(then).await;
            }
            // At once, as far as that goes: who comes back meanwhile is killed after the server.
            With::Everybody => {
                for (kind, died) in &mut died {
                    *died += killed(victims.find(*kind)).await?;
                }
            }
        }
        server.kill().await?;
        self.tally.died(Kind::Server, 1);
        if matches!(with, With::Jailer | With::Everybody) {
            for (kind, died) in &mut died {
                *died += ended(&victims, *kind).await?;
            }
        }
        for (kind, died) in died {
            self.tally.died(kind, died);
        }
        let started = Instant::now();
        let server = setup.start().await?;
        self.tally.started(started.elapsed());
        Ok(server)
    }

    /// A server that ends takes everything along.
    fn left_behind(&self) -> Vec<Broken> {
        let victims = Victims::of(&self.place.data());
        let left = Victims::ALL.into_iter().map(|kind| (kind, victims.find(kind)));
        left.filter(|(_, left)| !left.is_empty())
            .map(|(kind, left)| of_server(format!("it ended and has left {} of {kind:?}", left.len())))
            .collect()
    }

    async fn ledgers(
        &self,
        model: &simulated_model::Server,
        sessions: &[String],
    ) -> Result<Compared, Failure> {
        let data = self.place.data();
        let failed = |source: std::io::Error| Failure::File {
            path: data.clone(),
            source,
        };
        let instance = Instance::open(&data).map_err(|error| failed(std::io::Error::other(error)))?;
        let store = Store::open(instance)
            .await
            .map_err(|error| failed(std::io::Error::other(error)))?;
        // What the last server left open is cut by the next start, which this is.
        let mut ours = Vec::new();
        for session in sessions {
            let id = session.parse::<SessionId>();
            let id = id.map_err(|error| failed(std::io::Error::other(error)))?;
            let calls = store.model_calls(&id).await;
            for call in calls.map_err(|error| failed(std::io::Error::other(error)))? {
                ours.push(Ours {
                    session: session.clone(),
                    call: call.id.0,
                    outcome: call.outcome,
                    request_id: call.request_id,
                    bytes: call.request_bytes,
                    at_ms: (call.opened_at.unix_timestamp_nanos() / 1_000_000) as u64,
                });
            }
        }
        store.close().await;
        Ok(ledgers::compare(&seen(model).await, &ours))
    }
}

async fn model() -> Result<simulated_model::Server, Failure> {
    let failed = |source| Failure::Run { source };
    let script = Script::parse(&script::script().to_string());
    let script = script.map_err(|error| failed(std::io::Error::other(error)))?;
    let options = Options {
        ledger_capacity: LEDGER,
        ..Options::default()
    };
    simulated_model::Server::bind("127.0.0.1:0", script, options)
        .await
        .map_err(failed)
}

/// What the model has seen. Nobody asks it any more, so what is open there is a cut that it has not noticed yet.
async fn seen(model: &simulated_model::Server) -> Vec<Seen> {
    let end = Instant::now() + PATIENCE;
    loop {
        let entries = model.ledger().entries();
        if Instant::now() > end
            || entries
                .iter()
                .all(|entry| entry.outcome != simulated_model::Outcome::Open)
        {
            // What only counts tokens is in no ledger of ours.
            let messages = entries
                .into_iter()
                .filter(|entry| !entry.path.contains("count_tokens"));
            let seen = messages.map(|entry| Seen {
                request_id: simulated_model::request_id(entry.id),
                conversation: entry.session.unwrap_or_default(),
                bytes: entry.request_bytes,
                at_ms: entry.received_at_ms,
                outcome: entry.outcome,
            });
            return seen.collect();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Kills one, as soon as there is one. Says how many died.
async fn one_of(victims: &Victims, kind: Kind, chosen: u64) -> Result<u64, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut found = victims.find(kind);
        if !found.is_empty() {
            let at = (chosen % found.len() as u64) as usize;
            return killed(vec![found.swap_remove(at)]).await;
        }
        if Instant::now() > end {
            // Told in the end, if it is always so.
            return Ok(0);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn killed(victims: Vec<Victim>) -> Result<u64, Failure> {
    aside(move || victims.iter().filter(|victim| victim.kill()).count() as u64).await
}

/// Until none is there any more.
async fn ended(victims: &Victims, kind: Kind) -> Result<u64, Failure> {
    let victims = victims.clone();
    let ended = aside(move || victims.end(&[kind])).await?;
    ended.map_err(|left| Failure::Late {
        what: format!("every {kind:?} is gone ({left:?} are not)"),
        seconds: PATIENCE.as_secs(),
    })
}

/// The model goes on meanwhile.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::Run {
        source: std::io::Error::other(error),
    })
}

fn of_server(what: String) -> Broken {
    Broken {
        session: "the server".to_owned(),
        event: None,
        what,
    }
}

fn panics(log: &Path) -> Vec<Broken> {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let panics = log.lines().filter(|line| line.contains("panicked"));
    panics
        .map(|line| {
            of_server(format!(
                "the server panicked: {}",
                line.chars().take(500).collect::<String>()
            ))
        })
        .collect()
}
