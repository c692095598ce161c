//! A sandbox to attack from: the native backend of this machine, and commands run in it as the agent.

use domain::{InstanceId, Limits, SandboxId};
use guest_protocol::{Client, Exit, Framing, Payload, Spawn, Stdio};
use sandbox::{Aspect, Backend as _, Listeners, Report, Spec, Workspace};
use sandbox_linux::{LinuxBackend, Options};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than any attack needs; a command that takes longer has failed.
const DEADLINE: Duration = Duration::from_mins(1);

/// A backend with a data directory of its own. Everything is gone when it is dropped.
pub struct Machine {
    pub backend: LinuxBackend,
    pub report: Report,
    pub data: TempDir,
}

/// A sandbox and the workspace it has a view of.
pub struct Place {
    pub id: SandboxId,
    pub client: Client,
    /// What the host would serve; kept, so that connections wait in the backlog.
    #[expect(dead_code, reason = "kept open")]
    pub listeners: Listeners,
    pub workspace: TempDir,
}

/// What became of a command.
#[derive(Debug)]
pub struct Outcome {
    /// Standard output and standard error, as they came.
    pub text: String,
    pub exit: Exit,
}

impl Outcome {
    pub fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0)
    }
}

impl Machine {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let options = Options {
            program: env!("CARGO_BIN_EXE_hostler").into(),
            data: data.path().canonicalize().unwrap(),
            instance: InstanceId::random(),
            shells: 0,
            disks: 0,
            limits: Limits::default(),
            starts_jailer: true,
        };
        let backend = tokio::task::spawn_blocking(move || LinuxBackend::start(&options))
            .await
            .unwrap()
            .unwrap();
        let report = backend.report().await.unwrap();
        Self {
            backend,
            report,
            data,
        }
    }

    pub fn enforces(&self, aspect: Aspect) -> bool {
        self.report.enforces(aspect)
    }

    /// A sandbox with the default limits and an empty workspace.
    pub async fn sandbox(&self) -> Place {
        self.sandbox_with(Limits::default(), tempfile::tempdir().unwrap())
            .await
    }

    pub async fn sandbox_with(&self, limits: Limits, workspace: TempDir) -> Place {
        let id = SandboxId::random();
        let view = Workspace {
            path: workspace.path().canonicalize().unwrap(),
            masked: Vec::new(),
        };
        let spec = Spec {
            id: id.clone(),
            limits,
            workspace: Some(view),
            egress_ports: Vec::new(),
            files_from: None,
            runtime: None,
        };
        let created = self.backend.create(&spec).await.unwrap();
        let client = Client::new(created.guest_socket);
        client.wait_ready(DEADLINE).await.unwrap();
        Place {
            id,
            client,
            listeners: created.listeners,
            workspace,
        }
    }
}

impl Place {
    /// Runs a shell script as the agent, to its end.
    pub async fn sh(&self, script: &str) -> Outcome {
        self.run(&["/bin/sh", "-c", script]).await
    }

    /// Runs a Python program as the agent, to its end.
    pub async fn python(&self, program: &str) -> Outcome {
        self.run(&["/usr/bin/python3", "-c", program]).await
    }

    pub async fn run(&self, argv: &[&str]) -> Outcome {
        tokio::time::timeout(DEADLINE, self.run_to_its_end(argv))
            .await
            .expect("the command takes too long")
    }

    async fn run_to_its_end(&self, argv: &[&str]) -> Outcome {
        self.attempt(argv).await.expect("the sandbox is gone")
    }

    /// Nothing where the sandbox ends before the command.
    pub async fn attempt(&self, argv: &[&str]) -> Option<Outcome> {
        let id = SandboxId::random().to_string();
        let environment = [
            ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
            ("HOME", "/home/agent"),
            ("LANG", "C.UTF-8"),
        ];
        let spawn = Spawn {
            id: id.clone(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            cwd: None,
            stdio: Stdio::Pipes,
            framing: Framing::Chunks,
        };
        self.client.spawn(&spawn).await.ok()?;
        let mut output = self.client.output(&id, 0, true).await.ok()?;
        let mut bytes = Vec::new();
        while let Some(record) = output.next().await.ok()? {
            self.client.ack(&id, record.seq).await.ok();
            match record.payload {
                Payload::Output(data) => bytes.extend(data.into_bytes()),
                Payload::Exit(exit) => {
                    self.client.remove(&id).await.ok();
                    return Some(Outcome {
                        text: String::from_utf8_lossy(&bytes).into_owned(),
                        exit,
                    });
                }
            }
        }
        None
    }
}

/// Says why a test does not run; `./test` counts it, and CI refuses it unless it is listed.
pub fn skip(test: &str, reason: &str) {
    println!("SKIP {test}: {reason}");
}

/// A file of the host, for a sandbox to look for.
pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}
