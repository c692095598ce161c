//! One run, from the first start of the server to the last comparison.

use crate::arguments::Arguments;
use crate::ledgers::{self, Compared, Ours, Seen};
use crate::random::Random;
use crate::schedule::{self, Kill, With};
use crate::script;
use crate::subject::Subject;
use crate::tally::Tally;
use crate::verdict::Broken;
use crate::victims::{Victims, kill, kill_all};
use bench::Report;
use domain::SessionId;
use futures_util::future::try_join_all;
use simulated_model::{Options, Outcome as Ended, Script};
use stage::{Failure, Place, Progress, Server, Setup};
use std::path::{Path, PathBuf};
use std::time::Instant;
use store::{Instance, Store};

/// Of the model's ledger: all of it.
const LEDGER: usize = 10_000_000;
/// One session in so many asks before each call.
const ASKS: usize = 3;

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
        Err(source) => {
            let victims = Victims::of(&place.data());
            // The server was killed with the run. Nobody else ends what it left.
            kill_all(|| victims.all()).await;
            Err(Stopped::Middle {
                kept: place.keep(),
                source,
            })
        }
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
        broken.extend(self.left_behind().await);
        broken.extend(panics(&setup.log));
        let compared = self.ledgers(&model, &sessions).await?;
        broken.extend(compared.broken.iter().cloned());
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
        let one_of = |found: Vec<i32>| {
            let at = usize::try_from(chosen % (found.len().max(1) as u64)).unwrap_or(0);
            found.get(at).copied().into_iter().for_each(kill);
        };
        match with {
            With::Nobody | With::Jailer => {}
            With::Runtime => one_of(victims.runtimes()),
            With::Guest => one_of(victims.guests()),
            With::Everybody => victims
                .jailers()
                .into_iter()
                .chain(victims.guests())
                .for_each(kill),
        }
        if matches!(with, With::Runtime | With::Guest) {
            tokio::time::sleep(then).await;
        }
        let stuck = |what: &str| Failure::Late {
            what: format!("every {what} of kill {number} is gone"),
            seconds: 0,
        };
        server.kill().await?;
        if matches!(with, With::Jailer | With::Everybody) && !kill_all(|| victims.jailers()).await {
            return Err(stuck("jailer"));
        }
        if with == With::Everybody && !kill_all(|| victims.guests()).await {
            return Err(stuck("guest"));
        }
        let started = Instant::now();
        let server = setup.start().await?;
        self.tally.killed(with, started.elapsed());
        Ok(server)
    }

    /// A server that ends takes everything along.
    async fn left_behind(&self) -> Vec<Broken> {
        let victims = Victims::of(&self.place.data());
        let left = victims.all();
        if left.is_empty() {
            return Vec::new();
        }
        kill_all(|| victims.all()).await;
        vec![of_server(format!("processes were left behind: {left:?}"))]
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
            let Ok(id) = session.parse::<SessionId>() else {
                continue;
            };
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
        Ok(ledgers::compare(&seen(model), &ours))
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

fn seen(model: &simulated_model::Server) -> Vec<Seen> {
    let entries = model.ledger().entries().into_iter();
    // What only counts tokens is in no ledger of ours.
    let messages = entries.filter(|entry| !entry.path.contains("count_tokens"));
    messages
        .map(|entry| Seen {
            request_id: simulated_model::request_id(entry.id),
            conversation: entry.session.unwrap_or_default(),
            bytes: entry.request_bytes,
            at_ms: entry.received_at_ms,
            completed: entry.outcome == Ended::Completed,
        })
        .collect()
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
