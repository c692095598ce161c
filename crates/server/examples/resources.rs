//! A server of what does not run: agents, environments, keys. For trying clients of the API.
//!
//! `HOSTLER_API_KEY=… cargo run --release -p server --example resources -- DATA_DIRECTORY [ADDRESS]`
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use anyhow::{Context as _, Result};
use control::{AdminKey, Resources};
use server::{Api, Config, NoUpstream, Rates};
use std::path::PathBuf;
use std::sync::Arc;
use store::{Instance, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Test programs do not want to wait.
const RATES: Rates = Rates {
    create: 1_000_000,
    environments: 1_000_000,
    other: 1_000_000,
};

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().context("a data directory is needed")?);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());

    let instance = Instance::open(&directory)?;
    let given = std::env::var("HOSTLER_API_KEY").ok();
    let (admin, origin) = AdminKey::find(&directory, given.as_deref())?;
    let key = admin.reveal().to_owned();
    let resources = Resources::open(Store::open(instance).await?, admin).await?;

    let listener = TcpListener::bind(&address).await?;
    println!("export ANTHROPIC_BASE_URL=http://{}", listener.local_addr()?);
    println!("export ANTHROPIC_API_KEY={key} # {origin:?}");
    let shutdown = CancellationToken::new();
    let on_signal = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            on_signal.cancel();
        }
    });
    let config = Config {
        rates: RATES,
        ..Config::default()
    };
    let api = Api {
        resources: resources.clone(),
        sessions: None,
        upstream: Arc::new(NoUpstream),
        metrics: metrics::Metrics::default(),
        traces: traces::Traces::default(),
    };
    config.build(api).run(vec![listener], shutdown).await?;
    resources.store().close().await;
    Ok(())
}
