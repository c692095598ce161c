//! The backend's methods: each is one request to the jailer, with its deadline.

use crate::jailer_process::{AskError, JailerProcess};
use crate::listeners;
use async_trait::async_trait;
use domain::{InstanceId, Limits, SandboxId};
use image::{HostImage, ImageError};
use jailer::channel::ChannelError;
use jailer::protocol::{self, FailureKind, Hello, Reply, Request, VERSION};
use sandbox::{Aspect, Backend, ChangeReader, Created, Enforcement, Error, Observation, Report, Spec};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Generous: a machine that swaps is slow, and a caller who gives up loses its sandbox.
const DEADLINE: Duration = Duration::from_mins(1);
/// A Unix socket's path has 107 bytes; a sandbox's takes this many behind the data directory.
const LONGEST_DATA_PATH: usize = 107 - "/sandboxes/sbx_00000000000000000000000000/guest.sock".len();

/// What the backend is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The hostler binary.
    pub program: PathBuf,
    /// The data directory, locked by the caller.
    pub data: PathBuf,
    pub instance: InstanceId,
    /// Shells to keep ready for the next sandbox.
    pub shells: u32,
    /// Disks to keep ready for the next sandbox.
    pub disks: u32,
    /// What they are made for.
    pub limits: Limits,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the data directory's path {path} is longer than {LONGEST_DATA_PATH} bytes, too long for sockets below it"
    )]
    PathTooLong { path: PathBuf },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the jailer does not start: {0}")]
    Jailer(#[from] ChannelError),
    #[error("this machine cannot hold a sandbox: {reason}")]
    Refused { reason: String },
}

/// Sandboxes on this machine.
#[derive(Debug, Clone)]
pub struct LinuxBackend {
    jailer: Arc<JailerProcess>,
    report: Report,
}

impl LinuxBackend {
    /// Builds the image if it is not there, and starts the jailer. Blocks.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        let path = &options.data;
        if path.as_os_str().len() > LONGEST_DATA_PATH {
            return Err(StartError::PathTooLong { path: path.clone() });
        }
        let image = HostImage::ensure(path, &options.program)?;
        let hello = Hello {
            version: VERSION,
            instance: options.instance.to_string(),
            data: path.clone(),
            image: image.root,
            shells: options.shells,
            disks: options.disks,
            limits: limits(&options.limits),
        };
        let (jailer, welcome) = JailerProcess::start(&options.program, &hello)?;
        if let Some(reason) = welcome.refused {
            return Err(StartError::Refused { reason });
        }
        Ok(Self {
            jailer: Arc::new(jailer),
            report: report(&welcome.findings),
        })
    }

    /// Ends every sandbox and the jailer. Blocks until they are gone; files of sandboxes stay.
    pub fn stop(&self) {
        self.jailer.stop();
    }

    async fn ask(
        &self,
        id: &SandboxId,
        operation: &'static str,
        request: Request,
    ) -> Result<(Reply, Vec<OwnedFd>), Error> {
        let answer = self
            .jailer
            .ask(request, DEADLINE)
            .await
            .map_err(|error| match error {
                AskError::Lost(reason) => Error::BackendLost { reason },
                AskError::Late { seconds } => Error::Deadline {
                    id: id.clone(),
                    operation,
                    seconds,
                },
            })?;
        match answer.0 {
            Reply::Failed {
                kind: FailureKind::NotFound,
                ..
            } => Err(Error::NotFound { id: id.clone() }),
            Reply::Failed {
                kind: FailureKind::Request,
                reason,
                ..
            } => Err(Error::Spec { reason }),
            Reply::Failed {
                kind: FailureKind::Step,
                step,
                reason,
            } if operation == "create" => Err(Error::Build {
                id: id.clone(),
                step,
                reason,
            }),
            Reply::Failed {
                kind: FailureKind::Step,
                step,
                reason,
            } => Err(Error::Operation {
                id: id.clone(),
                operation,
                reason: format!("{step}: {reason}"),
            }),
            _ => Ok(answer),
        }
    }

    fn unexpected(id: &SandboxId, operation: &'static str) -> Error {
        let reason = "the jailer answered something else".to_owned();
        Error::Operation {
            id: id.clone(),
            operation,
            reason,
        }
    }
}

#[async_trait]
impl Backend for LinuxBackend {
    async fn report(&self) -> Result<Report, Error> {
        Ok(self.report.clone())
    }

    async fn create(&self, spec: &Spec) -> Result<Created, Error> {
        spec.limits.validate().map_err(|error| Error::Spec {
            reason: error.to_string(),
        })?;
        let request = Request::Create(protocol::Spec {
            id: spec.id.to_string(),
            limits: limits(&spec.limits),
            workspace: spec.workspace.as_ref().map(|workspace| protocol::Workspace {
                path: workspace.path.clone(),
                masked: workspace.masked.clone(),
            }),
            egress_ports: spec.egress_ports.clone(),
        });
        match self.ask(&spec.id, "create", request).await? {
            (Reply::Created { guest_socket }, descriptors) => {
                let listeners =
                    listeners::in_order(descriptors).ok_or_else(|| Self::unexpected(&spec.id, "create"))?;
                Ok(Created {
                    guest_socket,
                    listeners,
                })
            }
            _ => Err(Self::unexpected(&spec.id, "create")),
        }
    }

    async fn attach(&self, id: &SandboxId) -> Result<Created, Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn survivors(&self) -> Result<Vec<SandboxId>, Error> {
        Ok(Vec::new())
    }

    async fn observe(&self, id: &SandboxId) -> Result<Observation, Error> {
        match self
            .ask(id, "observe", Request::Observe { id: id.to_string() })
            .await?
        {
            (Reply::Observed(found), _) => Ok(Observation {
                alive: found.alive,
                frozen: found.frozen,
                memory_bytes: found.memory_bytes,
                cpu_micros: found.cpu_micros,
                pids: found.pids,
                memory_kills: found.memory_kills,
            }),
            _ => Err(Self::unexpected(id, "observe")),
        }
    }

    async fn freeze(&self, id: &SandboxId) -> Result<(), Error> {
        self.ask(id, "freeze", Request::Freeze { id: id.to_string() })
            .await
            .map(drop)
    }

    async fn thaw(&self, id: &SandboxId) -> Result<(), Error> {
        self.ask(id, "thaw", Request::Thaw { id: id.to_string() })
            .await
            .map(drop)
    }

    async fn destroy(&self, id: &SandboxId) -> Result<(), Error> {
        self.ask(id, "destroy", Request::Destroy { id: id.to_string() })
            .await
            .map(drop)
    }

    async fn read_changes(&self, id: &SandboxId) -> Result<ChangeReader, Error> {
        let reader = SandboxId::random().to_string();
        let request = Request::ReadChanges {
            id: id.to_string(),
            reader: reader.clone(),
        };
        match self.ask(id, "read changes", request).await? {
            (Reply::Created { guest_socket }, _) => {
                let keep = Reader {
                    id: reader,
                    jailer: Arc::clone(&self.jailer),
                };
                Ok(ChangeReader {
                    guest_socket,
                    keep: Box::new(keep),
                })
            }
            _ => Err(Self::unexpected(id, "read changes")),
        }
    }

    async fn remove_files(&self, id: &SandboxId) -> Result<(), Error> {
        self.ask(id, "remove files", Request::RemoveFiles { id: id.to_string() })
            .await
            .map(drop)
    }
}

/// A reader of changes, destroyed when nobody holds it.
struct Reader {
    id: String,
    jailer: Arc<JailerProcess>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.jailer.abandon(&self.id);
    }
}

fn limits(limits: &Limits) -> protocol::Limits {
    protocol::Limits {
        cpu_millis: limits.cpu_millis,
        memory_bytes: limits.memory_bytes,
        disk_bytes: limits.disk_bytes,
        pids: limits.pids,
    }
}

/// The jailer's findings under the port's names; what it did not look at is not enforced.
fn report(findings: &[protocol::Finding]) -> Report {
    let named = |aspect: Aspect| serde_json::to_value(aspect).ok();
    let aspects = Aspect::ALL.map(|aspect| {
        let found = findings
            .iter()
            .find(|finding| named(aspect) == Some(finding.aspect.as_str().into()));
        Enforcement {
            aspect,
            enforced: found.is_some_and(|finding| finding.enforced),
            detail: found.map_or_else(|| "not known".to_owned(), |finding| finding.detail.clone()),
        }
    });
    Report {
        aspects: aspects.into(),
    }
}
