//! A server, the model that it asks, and clients with a key each.

use serde_json::{Value, json};
use simulated_model::{Arrival, Options, Script};
use stage::{Api, Failure, Made, Place, Server, Setup};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// A key may create 300 times a minute, and ask 600 times.
const SESSIONS_OF_A_KEY: usize = 60;
const LEDGER: usize = 1000;

pub(super) struct Scene {
    model: simulated_model::Server,
    arrivals: Arrivals,
    server: Server,
    clients: Vec<Api>,
    pub(super) made: Made,
    _place: Place,
}

/// When the model was first asked with a message that ends with this word.
struct Arrivals {
    first: Arc<Mutex<HashMap<String, Instant>>>,
    news: watch::Receiver<()>,
    _task: AbortOnDropHandle<()>,
}

impl Scene {
    /// For so many sessions.
    pub(super) async fn open(
        program: &Path,
        script: &Value,
        pool: u32,
        sessions: usize,
    ) -> Result<Self, Failure> {
        let place = Place::new()?;
        let failed = |source| Failure::Run { source };
        let script = Script::parse(&script.to_string());
        let script = script.map_err(|error| failed(std::io::Error::other(error)))?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let options = Options {
            ledger_capacity: LEDGER,
            arrivals: Some(sender),
            ..Options::default()
        };
        let model = simulated_model::Server::bind("127.0.0.1:0", script, options)
            .await
            .map_err(failed)?;
        let mut setup = Setup::new(program, &place, &model.base_url());
        setup.pool = pool;
        let server = setup.start().await?;
        let admin = server.admin()?;
        let made = admin.make(false).await?;
        let mut clients = Vec::new();
        for number in 0..=sessions / SESSIONS_OF_A_KEY {
            clients.push(admin.another(&format!("bench-{number}")).await?);
        }
        Ok(Self {
            model,
            arrivals: Arrivals::of(receiver),
            server,
            clients,
            made,
            _place: place,
        })
    }

    /// The client for the session of this number.
    pub(super) fn client(&self, number: usize) -> &Api {
        &self.clients[number % self.clients.len()]
    }

    /// A session that begins with this word, and the moment at which the model was asked.
    pub(super) async fn begin(&self, number: usize, word: &str) -> Result<(String, Instant), Failure> {
        let session = self.client(number).session(&self.made, Some(word)).await?;
        Ok((session, self.arrivals.of_word(word).await?))
    }

    pub(super) async fn asked(&self, word: &str) -> Result<Instant, Failure> {
        self.arrivals.of_word(word).await
    }

    pub(super) fn server(&self) -> Option<u32> {
        self.server.pid()
    }

    pub(super) async fn end(self) -> Result<(), Failure> {
        self.server.end().await?;
        self.model.stop().await;
        Ok(())
    }
}

impl Arrivals {
    fn of(mut receiver: mpsc::UnboundedReceiver<Arrival>) -> Self {
        let first: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
        let (told, news) = watch::channel(());
        let map = Arc::clone(&first);
        let task = tokio::spawn(async move {
            while let Some(arrival) = receiver.recv().await {
                let Some(word) = arrival.last_user_text.split_whitespace().last() else {
                    continue;
                };
                let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
                map.entry(word.to_owned()).or_insert(arrival.at);
                drop(map);
                told.send_replace(());
            }
        });
        Self {
            first,
            news,
            _task: AbortOnDropHandle::new(task),
        }
    }

    async fn of_word(&self, word: &str) -> Result<Instant, Failure> {
        let mut news = self.news.clone();
        let found = async {
            loop {
                news.mark_unchanged();
                let found = self
                    .first
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(word)
                    .copied();
                match found {
                    Some(at) => return at,
                    // The task ends with this value.
                    None => news.changed().await.unwrap_or(()),
                }
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .map_err(|_| Failure::Late {
                what: format!("the model is asked about {word}"),
                seconds: PATIENCE.as_secs(),
            })
    }
}

/// Says one thing, whatever it is asked.
pub(super) fn talk() -> Value {
    json!({
        "name": "talk",
        "anytime": [{"when": {"last_user_text_contains": ""}, "reply": [{"text": "Done."}]}],
        "turns": [],
    })
}

/// Runs one command after another, without an end, and thinks for this long before each.
pub(super) fn works(command: &str, thinks: Duration) -> Value {
    json!({
        "name": "works",
        "anytime": [{
            "when": {"has_tool": "Bash"},
            "first_byte_delay_ms": thinks.as_millis() as u64,
            "reply": [{"tool_use": {"name": "Bash", "input": {"command": command}}}],
        }],
        "turns": [],
    })
}
