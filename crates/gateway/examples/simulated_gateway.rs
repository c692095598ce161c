//! A gateway in front of a simulated model, to try a client by hand: plays a script until standard input ends.
//!
//! `cargo run --release -p gateway --example simulated_gateway script.json`

use domain::{Cost, SessionId};
use gateway::{Config, Credential, Gateway, MemoryLedger, Secret, SessionGrant, Upstream};
use simulated_model::{Options, Script, Server};
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: simulated_gateway SCRIPT")?;
    let key = "the-real-key".to_owned();
    let options = Options {
        api_key: Some(key.clone()),
        ..Options::default()
    };
    let model = Server::bind("127.0.0.1:0", Script::load(Path::new(&path))?, options).await?;
    let upstream = Upstream::new(&model.base_url(), Credential::ApiKey(Secret::new(key)))?;
    let ledger = Arc::new(MemoryLedger::default());
    let gateway = Gateway::new(Config::new(upstream), Arc::clone(&ledger) as _);
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let session_id = SessionId::random();
    let token = format!("hostler-session-{session_id}");
    let grant = SessionGrant {
        session_id,
        token: token.clone(),
        budget: None,
        already_spent: Cost::ZERO,
        waiting_since: None,
        trace: traces::SessionTrace::default(),
        reach: gateway::OutsideReach::default(),
    };
    let serving = gateway.serve(grant, listener.into())?;

    let mut out = std::io::stdout();
    writeln!(
        out,
        "export ANTHROPIC_BASE_URL=http://{address} ANTHROPIC_API_KEY={token}"
    )?;
    out.flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    writeln!(out, "spent {}, used {:?}", serving.spent(), serving.usage())?;
    serving.stop().await;
    for call in ledger.calls() {
        writeln!(out, "{call:?}")?;
    }
    model.stop().await;
    Ok(())
}
