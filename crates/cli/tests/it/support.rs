//! A command line without a terminal, and services that fail as a test wants.

use async_trait::async_trait;
use clap::Parser;
use cli::{
    Asked, Command, Environment, Kind, Running, Services, Signals, StartError, StartOptions, Terminal,
    execute,
};
use control::{Attachment, Control, Grant, Network, NetworkError, Parts, Settings};
use domain::SandboxId;
use sandbox::{Aspect, Backend, ChangeReader, Created, Enforcement, Error, Observation, Report, Spec};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use store::{Instance, Store};
use tokio::sync::mpsc;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a call came to.
pub struct Called {
    pub exit: u8,
    pub out: String,
    pub err: String,
}

impl Called {
    /// The object that `--json` prints as the last line.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.out.lines().last().unwrap()).unwrap()
    }
}

/// A data directory, and services of which only the first part is real.
pub struct Host {
    base: tempfile::TempDir,
    pub environment: Environment,
    pub broken: Broken,
}

impl Host {
    pub fn new(broken: Broken) -> Self {
        let base = tempfile::tempdir().unwrap();
        let environment = Environment {
            data: Some(base.path().join("data")),
            api_key: Some("sk-ant-secret".into()),
            ..Environment::default()
        };
        Self {
            base,
            environment,
            broken,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.base.path().canonicalize().unwrap().join(name)
    }

    pub async fn call(&self, arguments: &[&str]) -> Called {
        self.call_with(arguments, &[]).await
    }

    /// With signals that are there from the beginning.
    pub async fn call_with(&self, arguments: &[&str], asked: &[Asked]) -> Called {
        let line = Line::try_parse_from(["hostler"].iter().chain(arguments)).unwrap();
        let (out, err) = (Captured::default(), Captured::default());
        let terminal = Terminal::new(Box::new(out.clone()), Box::new(err.clone()), Kind::default());
        let (sender, channel) = mpsc::channel(8);
        for asked in asked {
            sender.send(*asked).await.unwrap();
        }
        let signals = Signals::from_channel(channel);
        let exit = execute(&line.command, &self.environment, &self.broken, terminal, signals).await;
        Called {
            exit,
            out: out.text(),
            err: err.text(),
        }
    }
}

/// Services that are broken from some point on.
#[derive(Clone, Default)]
pub struct Broken {
    /// Nothing starts.
    pub start: bool,
    /// Starting never ends.
    pub hangs: bool,
    pub starts: Arc<AtomicUsize>,
    pub shutdowns: Arc<AtomicUsize>,
}

#[async_trait]
impl Services for Broken {
    async fn start(&self, options: &StartOptions) -> Result<Running, StartError> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if self.start {
            return Err(StartError::Part {
                part: "gateway",
                reason: "no port is free".to_owned(),
            });
        }
        let instance = Instance::open(&options.data)?;
        let store = Store::open(instance).await?;
        let backend: Arc<dyn Backend> = Arc::new(NoSandbox);
        let metrics = metrics::Metrics::default();
        let control = Control::start(Parts {
            store: store.clone(),
            backend: Arc::clone(&backend),
            network: Arc::new(NoNetwork),
            settings: Settings::default(),
            meter: metrics.sessions.clone(),
            traces: traces::Traces::default(),
        })
        .await?;
        let shutdowns = Arc::clone(&self.shutdowns);
        let ending = control.clone();
        Ok(Running {
            control,
            report: backend.report().await?,
            backend,
            data: options.data.clone(),
            store: store.clone(),
            metrics,
            traces: traces::Traces::default(),
            upstream: Arc::new(server::NoUpstream),
            shutdown: Box::new(|_| {
                Box::pin(async move {
                    ending.shutdown(std::time::Duration::from_secs(10)).await;
                    drop(ending);
                    store.close().await;
                    shutdowns.fetch_add(1, Ordering::SeqCst);
                    None
                })
            }),
        })
    }
}

/// A machine that holds no sandbox.
pub struct NoSandbox;

#[async_trait]
impl Backend for NoSandbox {
    async fn report(&self) -> Result<Report, Error> {
        let aspect = |aspect, enforced, detail: &str| Enforcement {
            aspect,
            enforced,
            detail: detail.to_owned(),
        };
        Ok(Report {
            aspects: vec![
                aspect(Aspect::Network, true, "no device but lo"),
                aspect(Aspect::DiskLimit, false, "needs root"),
            ],
        })
    }

    async fn create(&self, _: &Spec) -> Result<Created, Error> {
        Err(Error::Unsupported {
            missing: "user namespaces".to_owned(),
        })
    }

    async fn observe(&self, id: &SandboxId) -> Result<Observation, Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn freeze(&self, id: &SandboxId) -> Result<(), Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn thaw(&self, id: &SandboxId) -> Result<(), Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn destroy(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn read_changes(&self, id: &SandboxId) -> Result<ChangeReader, Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn remove_files(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn attach(&self, id: &SandboxId) -> Result<Created, Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn survivors(&self) -> Result<Vec<SandboxId>, Error> {
        Ok(Vec::new())
    }
}

pub struct NoNetwork;

#[async_trait]
impl Network for NoNetwork {
    async fn attach(
        &self,
        _: &domain::SessionId,
        _: Grant,
        _: sandbox::Listeners,
    ) -> Result<Box<dyn Attachment>, NetworkError> {
        Err(NetworkError {
            reason: "there is none".to_owned(),
        })
    }
}
