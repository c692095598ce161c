//! A client of the server, with one key.

use crate::{Failure, Following};
use client::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Before a server is asked again that was asked too often.
const PAUSE: Duration = Duration::from_millis(200);
/// Limits are those of a minute.
const PATIENCE: Duration = Duration::from_mins(3);
const MODEL: &str = "claude-sonnet-5-5";

/// Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: Client,
    url: String,
    key: String,
}

/// What sessions are made of.
#[derive(Debug, Clone)]
pub struct Made {
    pub agent: String,
    pub environment: String,
}

/// A user's message.
pub fn message(text: &str) -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
}

impl Api {
    pub fn new(url: &str, key: &str) -> Result<Self, Failure> {
        let client = Client::new(url, key).map_err(|error| Failure::NotServing {
            reason: error.to_string(),
            log: String::new(),
        })?;
        Ok(Self {
            client,
            url: url.to_owned(),
            key: key.to_owned(),
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.client.get(path).await;
        answer.map_err(|source| asked("GET", path, source))
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let answer = self.client.post(path, body).await;
        answer.map_err(|source| asked("POST", path, source))
    }

    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.client.delete(path).await;
        answer.map_err(|source| asked("DELETE", path, source))
    }

    /// A client with a key of its own, of the default workspace. This one's key is the admin's.
    pub async fn another(&self, name: &str) -> Result<Self, Failure> {
        let path = "/host/v1/keys";
        let made = self.post(path, &json!({"name": name})).await?;
        Self::new(&self.url, field(path, &made, "secret")?)
    }

    /// An environment, and an agent with all tools, which asks before each call or does not.
    pub async fn make(&self, asks: bool) -> Result<Made, Failure> {
        let policy = if asks { "always_ask" } else { "always_allow" };
        let agent = json!({
            "name": "bench",
            "model": MODEL,
            "tools": [{
                "type": "agent_toolset_20260401",
                "default_config": {"permission_policy": {"type": policy}},
            }],
        });
        let (agents, environments) = ("/v1/agents", "/v1/environments");
        let agent = self.post(agents, &agent).await?;
        let environment = self
            .post(environments, &json!({"name": format!("bench-{policy}")}))
            .await?;
        Ok(Made {
            agent: field(agents, &agent, "id")?.to_owned(),
            environment: field(environments, &environment, "id")?.to_owned(),
        })
    }

    /// A session, which begins with this message if there is one.
    pub async fn session(&self, made: &Made, first: Option<&str>) -> Result<String, Failure> {
        let mut body = json!({"agent": made.agent, "environment_id": made.environment});
        if let Some(text) = first {
            body["initial_events"] = json!([message(text)]);
        }
        let path = "/v1/sessions";
        let session = self.post(path, &body).await?;
        field(path, &session, "id").map(str::to_owned)
    }

    /// The events as they are stored.
    pub async fn send(&self, session: &str, events: &[Value]) -> Result<Vec<Value>, Failure> {
        let path = format!("/v1/sessions/{session}/events");
        let mut stored = self.post(&path, &json!({"events": events})).await?;
        match stored["data"].take() {
            Value::Array(events) => Ok(events),
            _ => Err(Failure::Answer {
                asked: path,
                missing: "data",
            }),
        }
    }

    /// The whole log of a session.
    pub async fn events(&self, session: &str) -> Result<Vec<Value>, Failure> {
        let mut events = Vec::new();
        let mut page = String::new();
        loop {
            let path = format!("/v1/sessions/{session}/events?limit=1000{page}");
            let mut answer = self.get(&path).await?;
            match answer["data"].take() {
                Value::Array(found) => events.extend(found),
                _ => {
                    return Err(Failure::Answer {
                        asked: path,
                        missing: "data",
                    });
                }
            }
            match answer["next_page"].as_str() {
                Some(next) => page = format!("&page={next}"),
                None => return Ok(events),
            }
        }
    }

    pub async fn status(&self, session: &str) -> Result<String, Failure> {
        let path = format!("/v1/sessions/{session}");
        let found = self.get(&path).await?;
        field(&path, &found, "status").map(str::to_owned)
    }

    /// Until the session is idle, as its stream tells it: nobody asks again and again.
    pub async fn idle(&self, session: &str, patience: Duration) -> Result<(), Failure> {
        let idle = async {
            // Opened first: whatever comes after the status was asked for is seen.
            let mut following = calm(|| Following::open(self, session, None)).await?;
            if calm(|| self.status(session)).await? != "idle" {
                following.until("session.status_idle").await?;
            }
            Ok(())
        };
        let late = |_| Failure::Late {
            what: format!("{session} is idle"),
            seconds: patience.as_secs(),
        };
        tokio::time::timeout(patience, idle).await.map_err(late)?
    }
}

/// Asks again where the server only says that it is asked too often.
pub async fn calm<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if error.status() == Some(429) && Instant::now() < end => {
                tokio::time::sleep(PAUSE).await;
            }
            asked => return asked,
        }
    }
}

pub(crate) fn asked(method: &str, path: &str, source: client::ClientError) -> Failure {
    Failure::Asked {
        asked: format!("{method} {path}"),
        source: Box::new(source),
    }
}

fn field<'a>(asked: &str, answer: &'a Value, name: &'static str) -> Result<&'a str, Failure> {
    answer[name].as_str().ok_or_else(|| Failure::Answer {
        asked: asked.to_owned(),
        missing: name,
    })
}
