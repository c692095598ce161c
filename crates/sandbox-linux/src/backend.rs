//! The backend's methods: each is one request to the jailer, with its deadline.

use crate::child::ChildJailer;
use crate::conversation::{Answer, AskError};
use crate::listeners;
use crate::service::{Place, ServiceJailer};
use async_trait::async_trait;
use channel::ChannelError;
use domain::{InstanceId, Limits, SandboxId};
use image::{HostImage, ImageError};
use jailer::User;
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
    /// The data directory, absolute, locked by the caller.
    pub data: PathBuf,
    pub instance: InstanceId,
    /// Shells to keep ready for the next sandbox.
    pub shells: u32,
    /// Disks to keep ready for the next sandbox.
    pub disks: u32,
    /// What they are made for.
    pub limits: Limits,
    /// Whether a jailer that stays is started where there is none. Else somebody else does that, and it is waited for.
    pub starts_jailer: bool,
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
    #[error("no jailer answers in {data}", data = data.display())]
    Absent { data: PathBuf, source: std::io::Error },
}

/// Sandboxes on this machine.
#[derive(Debug, Clone)]
pub struct LinuxBackend {
    jailer: Arc<Jailer>,
    /// The version that the jailer speaks.
    version: u32,
    report: Report,
}

#[derive(Debug)]
enum Jailer {
    Child(ChildJailer),
    Service(ServiceJailer),
}

impl Jailer {
    async fn ask(&self, request: Request) -> Result<Answer, AskError> {
        match self {
            Self::Child(child) => child.conversation.ask(request, DEADLINE).await,
            Self::Service(service) => service.ask(request, DEADLINE).await,
        }
    }

    fn abandon(&self, id: &str) {
        match self {
            Self::Child(child) => child.conversation.abandon(id),
            Self::Service(service) => service.abandon(id),
        }
    }
}

impl LinuxBackend {
    /// Builds the image if it is not there, and starts a jailer that ends with this process, and its sandboxes with it.
    /// Blocks.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        options.check()?;
        let image = HostImage::ensure(&options.data, &options.program)?;
        let (jailer, welcome) = ChildJailer::start(&options.program, &options.hello(image.root))?;
        if let Some(reason) = welcome.refused {
            return Err(StartError::Refused { reason });
        }
        Ok(Self {
            jailer: Arc::new(Jailer::Child(jailer)),
            version: welcome.version,
            report: report(&welcome.findings),
        })
    }

    /// Connects to the jailer that stays in the data directory, and starts it in the background if nobody listens there
    /// and it is this side's to start. Sandboxes outlive this process; the answer names those that did, for [`Backend::attach`].
    ///
    /// When the jailer is started again, this side connects again by itself. Another backend that connects takes over
    /// from this one for good. Blocks.
    pub fn connect(options: &Options) -> Result<(Self, Vec<SandboxId>), StartError> {
        options.check()?;
        // The jailer has an image of its own.
        let hello = options.hello(PathBuf::from("/"));
        let (jailer, welcome, ids) = ServiceJailer::connect(options.place(), hello)?;
        let backend = Self {
            jailer: Arc::new(Jailer::Service(jailer)),
            version: welcome.version,
            report: report(&welcome.findings),
        };
        Ok((backend, known(ids)))
    }

    /// Starts the jailer that stays, for a server of this user, unless one is there already. Called as root before
    /// [`give_up_root`](crate::give_up_root); [`connect`](Self::connect) comes after it. Blocks until it listens.
    pub fn start_jailer(options: &Options, user: User) -> Result<(), StartError> {
        options.check()?;
        options.place().start_watched(user)
    }

    /// Ends every sandbox of the jailer that stays in the data directory, and the jailer, where no server works with it.
    /// Files of sandboxes stay. How many there were. Blocks.
    pub fn end_service(options: &Options) -> Result<usize, StartError> {
        let place = options.place();
        place.knock().map_err(|source| StartError::Absent {
            data: options.data.clone(),
            source,
        })?;
        let (backend, there) = Self::connect(options)?;
        backend.stop();
        Ok(there.len())
    }

    /// What the jailer found that it can enforce, when this side came to it.
    pub fn found(&self) -> &Report {
        &self.report
    }

    /// Lets go of a jailer that stays, which keeps every sandbox. One that does not stay is ended.
    pub fn leave(&self) {
        match &*self.jailer {
            Jailer::Child(child) => child.stop(),
            Jailer::Service(service) => service.leave(),
        }
    }

    /// Ends every sandbox and the jailer. Blocks until they are gone; files of sandboxes stay.
    pub fn stop(&self) {
        match &*self.jailer {
            Jailer::Child(child) => child.stop(),
            Jailer::Service(service) => service.stop(),
        }
    }

    async fn ask(
        &self,
        id: &SandboxId,
        operation: &'static str,
        request: Request,
    ) -> Result<(Reply, Vec<OwnedFd>), Error> {
        let answer = self.jailer.ask(request).await.map_err(|error| match error {
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

    async fn ask_for_sandbox(
        &self,
        id: &SandboxId,
        operation: &'static str,
        request: Request,
    ) -> Result<Created, Error> {
        let (reply, descriptors) = self.ask(id, operation, request).await?;
        match (reply, listeners::in_order(descriptors)) {
            (Reply::Created { guest_socket }, Some(listeners)) => Ok(Created {
                guest_socket,
                listeners,
            }),
            _ => Err(Self::unexpected(id, operation)),
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
        match &*self.jailer {
            Jailer::Service(service) if !service.is_there() => Err(Error::BackendLost {
                reason: "the jailer is not there".to_owned(),
            }),
            _ => Ok(self.report.clone()),
        }
    }

    async fn create(&self, spec: &Spec) -> Result<Created, Error> {
        spec.limits.validate().map_err(|error| Error::Spec {
            reason: error.to_string(),
        })?;
        if spec.runtime.is_some() && self.version < protocol::RUNTIMES_SINCE {
            return Err(Error::Spec {
                reason: "the jailer at work is older than this server and gives sandboxes no other runtime: restart \
                         the jailer, and then the server"
                    .to_owned(),
            });
        }
        let request = Request::Create(protocol::Spec {
            id: spec.id.to_string(),
            limits: limits(&spec.limits),
            workspace: spec.workspace.as_ref().map(|workspace| protocol::Workspace {
                path: workspace.path.clone(),
                masked: workspace.masked.clone(),
            }),
            egress_ports: spec.egress_ports.clone(),
            files_from: spec.files_from.as_ref().map(SandboxId::to_string),
            runtime: spec.runtime.as_ref().map(|runtime| protocol::Runtime {
                name: runtime.name.clone(),
                version: runtime.version.clone(),
            }),
        });
        self.ask_for_sandbox(&spec.id, "create", request).await
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

    async fn attach(&self, id: &SandboxId) -> Result<Created, Error> {
        self.ask_for_sandbox(id, "attach", Request::Attach { id: id.to_string() })
            .await
    }

    async fn survivors(&self) -> Result<Vec<SandboxId>, Error> {
        let mut found: Vec<String> = Vec::new();
        loop {
            let after = found.last().cloned();
            let asked = self.jailer.ask(Request::List { after }).await;
            match asked {
                Ok((Reply::Sandboxes { ids, more: true }, _)) if !ids.is_empty() => found.extend(ids),
                Ok((Reply::Sandboxes { ids, .. }, _)) => {
                    found.extend(ids);
                    return Ok(known(found));
                }
                Ok(_) => {
                    let reason = "it does not list its sandboxes".to_owned();
                    return Err(Error::BackendLost { reason });
                }
                Err(AskError::Lost(reason)) => return Err(Error::BackendLost { reason }),
                Err(AskError::Late { seconds }) => {
                    let reason = format!("it has not listed its sandboxes in {seconds} s");
                    return Err(Error::BackendLost { reason });
                }
            }
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), StartError> {
        if self.data.as_os_str().len() > LONGEST_DATA_PATH {
            let path = self.data.clone();
            return Err(StartError::PathTooLong { path });
        }
        Ok(())
    }

    fn place(&self) -> Place {
        Place {
            program: self.program.clone(),
            data: self.data.clone(),
            starts_jailer: self.starts_jailer,
        }
    }

    fn hello(&self, image: PathBuf) -> Hello {
        Hello {
            version: VERSION,
            instance: self.instance.to_string(),
            data: self.data.clone(),
            image,
            shells: self.shells,
            disks: self.disks,
            limits: limits(&self.limits),
        }
    }
}

/// The jailer knows no sandbox that was not made through this port.
fn known(ids: Vec<String>) -> Vec<SandboxId> {
    ids.into_iter().filter_map(|id| id.parse().ok()).collect()
}

/// A reader of changes, destroyed when nobody holds it.
struct Reader {
    id: String,
    jailer: Arc<Jailer>,
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
