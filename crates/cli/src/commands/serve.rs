//! `hostler serve`: sessions over HTTP until it is told to end.
//!
//! SIGTERM leaves sandboxes to the next server; Ctrl-C ends them, and their sessions go on in new ones.

use crate::arguments::ServeArguments;
use crate::check::{choose_upstream, data_directory};
use crate::commands::{end, start};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::render::facts::missing_line;
use crate::render::text;
use crate::services::{Running, Services, StartOptions};
use crate::signals::Signals;
use crate::terminal::Terminal;
use control::{AdminKey, Hosted, Lifetime, Origin, Resources, ServerAddress};
use server::{Api, Config, Server};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const LISTEN: &str = "127.0.0.1:8700";

#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("HOSTLER_LISTEN is not UTF-8")]
    Text,
    #[error("cannot listen on {address}")]
    Bind { address: String, source: std::io::Error },
}

pub(crate) async fn serve(
    arguments: &ServeArguments,
    environment: &Environment,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let data = data_directory(&arguments.data, environment)?;
    let (upstream, notice) = choose_upstream(arguments.simulate.as_deref(), None, environment)?;
    let listener = listen(arguments, environment).await?;
    if let Some(notice) = notice {
        let line = terminal.style().yellow(&text::safe(&notice));
        terminal.line(&line);
    }
    terminal.status("starting");
    let options = StartOptions {
        data,
        upstream,
        pool: arguments.pool as usize,
        lifetime: Lifetime::Session,
    };
    let mut running = start(services, &options, signals).await?;
    let served = answer(&running, listener, arguments, environment, terminal, signals).await;
    terminal.status("ending");
    let shutdown = std::mem::replace(&mut running.shutdown, Box::pin(std::future::ready(())));
    drop(running);
    end(shutdown, signals).await;
    served
}

async fn listen(arguments: &ServeArguments, environment: &Environment) -> Result<TcpListener, Failure> {
    let given = environment.listen.as_ref().map(|text| text.to_str());
    let given = given.map(|text| text.ok_or_else(|| Failure::usage(ListenError::Text)));
    let given = given.transpose()?;
    let address = arguments.listen.as_deref().or(given).unwrap_or(LISTEN).to_owned();
    TcpListener::bind(&address).await.map_err(|source| {
        Failure::failed("listen", ListenError::Bind { address, source })
            .hint("use another address: --listen 127.0.0.1:8701")
    })
}

async fn answer(
    running: &Running,
    listener: TcpListener,
    arguments: &ServeArguments,
    environment: &Environment,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let failed = |kind: &'static str| {
        move |error: Box<dyn std::error::Error + Send + Sync>| Failure::said(kind, error.to_string())
    };
    let given = environment.server_key.as_ref().and_then(|key| key.to_str());
    let (admin, origin) =
        AdminKey::find(&running.data, given).map_err(|error| Failure::failed("start", error))?;
    let shown = key_line(&admin, origin, &running.data);
    let resources = Resources::open(running.store.clone(), admin)
        .await
        .map_err(|error| Failure::failed("store", error))?;
    let address = listener
        .local_addr()
        .map_err(|error| failed("listen")(error.into()))?;
    let url = format!("http://{address}");
    let _noted = ServerAddress::note(&running.data, &url).map_err(|error| failed("start")(error.into()))?;
    let api = Api {
        sessions: Some(Hosted::new(running.control.clone(), resources.clone())),
        resources,
        upstream: running.upstream.clone(),
        metrics: running.metrics.clone(),
    };
    let config = Config {
        open_metrics: arguments.open_metrics,
        ..Config::default()
    };
    let server: Server = config.build(api);
    terminal.quiet();
    welcome(running, &url, &shown, terminal);
    let stop = CancellationToken::new();
    let serving = server.run(vec![listener], stop.clone());
    tokio::pin!(serving);
    let asked = tokio::select! {
        outcome = &mut serving => return outcome.map_err(|error| failed("serve")(error.into())),
        asked = signals.next() => asked,
    };
    running.leave_sandboxes.store(asked.now, Ordering::Release);
    stop.cancel();
    terminal.line("ending: open requests are answered first");
    tokio::select! {
        outcome = &mut serving => outcome.map_err(|error| failed("serve")(error.into())),
        _ = signals.next() => Ok(()),
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
