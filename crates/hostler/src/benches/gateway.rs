//! The same request to the same model, once directly and once through the gateway.

use bench::{Failure, Options, Report};
use bytes::Bytes;
use domain::SessionId;
use gateway::{Config, Credential, Gateway, MemoryLedger, SessionGrant, Upstream};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use outbound::{Client, ClientConfig};
use simulated_model::{Script, Server};
use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SCRIPT: &str = r#"{"name":"bench","anytime":[{"when":{"first_user_text_contains":"go"},"reply":[{"text":"Done."}]}],"turns":[]}"#;
const TOKEN: &str = "hostler-session-bench";
/// As large as an agent's first request.
const PROMPT_BYTES: usize = 48 << 10;

pub(super) async fn added(options: &Options) -> anyhow::Result<Report> {
    let model = Server::bind(
        "127.0.0.1:0",
        Script::parse(SCRIPT)?,
        simulated_model::Options::default(),
    )
    .await?;
    let upstream = Upstream::new(&model.base_url(), Credential::None)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let through_url = format!("http://{}", listener.local_addr()?);
    let grant = SessionGrant {
        session_id: SessionId::random(),
        token: TOKEN.to_owned(),
        budget: None,
        already_spent: domain::Cost::ZERO,
        waiting_since: None,
        trace: traces::SessionTrace::default(),
        reach: gateway::OutsideReach::default(),
    };
    let serving = Gateway::new(Config::new(upstream), Arc::new(MemoryLedger::default()))
        .serve(grant, listener.into())?;
    let client = Arc::new(Client::new(ClientConfig::default()));
    let report = bench::gateway(
        asker(&client, &model.base_url()),
        asker(&client, &through_url),
        options,
    )
    .await;
    serving.stop().await;
    model.stop().await;
    Ok(report)
}

fn asker(
    client: &Arc<Client>,
    base_url: &str,
) -> impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = Result<Duration, Failure>> + Send>> + Send + 'static
{
    let (client, url) = (Arc::clone(client), format!("{base_url}/v1/messages"));
    let body = serde_json::json!({
        "model": cli::DEFAULT_MODEL,
        "max_tokens": 64,
        "stream": true,
        "messages": [{ "role": "user", "content": format!("go {}", "x".repeat(PROMPT_BYTES)) }],
    });
    let body = Bytes::from(body.to_string());
    move || {
        let (client, url, body) = (Arc::clone(&client), url.clone(), body.clone());
        Box::pin(async move { to_first_byte(&client, &url, body).await })
    }
}

async fn to_first_byte(client: &Client, url: &str, body: Bytes) -> Result<Duration, Failure> {
    let failed = |reason: String| Failure::Step {
        step: "ask the model".to_owned(),
        reason,
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header("content-type", "application/json")
        .header("anthropic-version", "2023-06-01")
        .header("x-api-key", TOKEN)
        .body(Full::new(body))
        .map_err(|error| failed(error.to_string()))?;
    let started = Instant::now();
    let response = client
        .request(request)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if !response.status().is_success() {
        return Err(failed(response.status().to_string()));
    }
    let mut body = response.into_body();
    let first = body.frame().await;
    let elapsed = started.elapsed();
    first
        .ok_or_else(|| failed("an empty answer".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    // The rest is read, so that the connection can be used again.
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| failed(error.to_string()))?;
    }
    Ok(elapsed)
}
