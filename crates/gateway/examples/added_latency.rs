//! How much later the first byte of a streamed reply arrives through the gateway than without it: the same requests
//! to the same simulated model, in turns, over connections that are kept.
//!
//! `cargo run --release -p gateway --example added_latency [requests] [bytes of the prompt]`

use bytes::Bytes;
use domain::{Cost, SessionId};
use gateway::{Config, Credential, Gateway, MemoryLedger, Secret, SessionGrant, Upstream};
use http_body_util::{BodyExt as _, Full};
use outbound::{Client, ClientConfig};
use serde_json::json;
use simulated_model::{Options, Script, Server};
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

const KEY: &str = "the-key";
const TOKEN: &str = "the-token";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let requests = arguments.next().transpose()?.unwrap_or(2000);
    let prompt_bytes = arguments.next().transpose()?.unwrap_or(50_000);

    let script =
        Script::parse(r#"{"name": "latency", "turns": [{"reply": [{"text": "some words in a row"}]}]}"#)?;
    let options = Options {
        api_key: Some(KEY.to_owned()),
        ..Options::default()
    };
    let model = Server::bind("127.0.0.1:0", script, options).await?;
    let upstream = Upstream::new(&model.base_url(), Credential::ApiKey(Secret::new(KEY)))?;
    let gateway = Gateway::new(Config::new(upstream), Arc::new(MemoryLedger::default()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let through = format!("http://{}", listener.local_addr()?);
    let grant = SessionGrant {
        session_id: SessionId::random(),
        token: TOKEN.to_owned(),
        budget: None,
        already_spent: Cost::ZERO,
        waiting_since: None,
        trace: traces::SessionTrace::default(),
        reach: gateway::OutsideReach::default(),
    };
    let serving = gateway.serve(grant, listener.into())?;

    let body = json!({"model": "claude-opus-5-5", "max_tokens": 100, "stream": true,
                      "messages": [{"role": "user", "content": "x".repeat(prompt_bytes)}]});
    let body = Bytes::from(body.to_string());
    let client = Client::new(ClientConfig::default());
    let (mut direct, mut added) = (Vec::new(), Vec::new());
    for _ in 0..requests {
        direct.push(first_byte(&client, &model.base_url(), KEY, &body).await?);
        added.push(first_byte(&client, &through, TOKEN, &body).await?);
    }
    direct.sort_unstable();
    added.sort_unstable();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{requests} requests of {} bytes, time to first byte",
        body.len()
    )?;
    for (name, share) in [("p50", 50), ("p90", 90), ("p99", 99)] {
        let at = |times: &[Duration]| times[(times.len() * share / 100).min(times.len() - 1)];
        let (one, two) = (at(&direct), at(&added));
        writeln!(
            out,
            "{name}: direct {one:?}, through the gateway {two:?}, added {:?}",
            two.saturating_sub(one)
        )?;
    }
    serving.stop().await;
    model.stop().await;
    Ok(())
}

async fn first_byte(
    client: &Client,
    base: &str,
    key: &str,
    body: &Bytes,
) -> Result<Duration, Box<dyn Error>> {
    let request = http::Request::post(format!("{base}/v1/messages"))
        .header("x-api-key", key)
        .header("anthropic-version", "2023-06-01")
        .body(Full::new(body.clone()))?;
    let started = Instant::now();
    let mut answer = client.request(request).await?.into_body();
    let first = answer.frame().await.ok_or("an empty answer")??;
    let elapsed = started.elapsed();
    drop(first);
    answer.collect().await?;
    Ok(elapsed)
}
