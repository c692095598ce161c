//! The shell: process 1 of a sandbox before it is one.
//!
//! ```text
//! cloned --Go--> exec --Prepare--> preparing --Ready--> [waits] --Enter--> entering --Entered--> guest
//! ```
//!
//! It is our own program with all capabilities in its own user namespace, and nothing else. Whatever fails, it says
//! which step and exits; its namespaces go with it.

use crate::error::{During as _, StepError};
use crate::plan::{EnterStep, PrepareStep};
use crate::{capabilities, devices, landlock, network, overlay, proc_files, root, seccomp, sys};
use channel::ChannelError;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The descriptor on which a shell talks with the jailer.
pub const CHANNEL_FD: i32 = 3;
/// Open files of one process.
const MOST_DESCRIPTORS: u64 = 16_384;

/// From the jailer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The ids are mapped: run the program.
    Go {
        uid: u32,
    },
    Prepare {
        steps: Vec<PrepareStep>,
    },
    /// With the descriptors that `parts` names, in its order.
    Enter {
        steps: Vec<EnterStep>,
        parts: Vec<Part>,
    },
}

/// To the jailer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// With the listeners.
    Ready,
    /// With the listeners on the extra egress ports.
    Entered,
    Failed {
        step: String,
        reason: String,
    },
}

/// A descriptor that comes with [`Order::Enter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Image,
    Disk,
    Usr,
    Workspace,
    Runtime,
    Changes,
    GuestSocket,
    Outbox,
}

/// Mounts and sockets on their way into the sandbox.
pub type Parts = BTreeMap<Part, OwnedFd>;

/// What the guest goes on with.
#[derive(Debug)]
pub struct Entered {
    /// Listening.
    pub guest_socket: OwnedFd,
    pub outbox: Option<OwnedFd>,
    /// The sandbox is a reader of changes.
    pub reader: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("the jailer sent something else than {wanted}")]
    Order { wanted: &'static str },
}

/// Runs until this process is a sandbox. Called by the role `guest`, before any thread is started.
pub fn run() -> Result<Entered, ShellError> {
    let socket =
        sys::inherited_fd(CHANNEL_FD).during("take channel", || format!("descriptor {CHANNEL_FD}"))?;
    let result = serve(&socket);
    if let Err(ShellError::Step(error)) = &result {
        let reason = format!("{}: {}", error.what, error.source);
        // If the jailer is gone, nobody is left to be told.
        channel::send(
            &socket,
            &Report::Failed {
                step: error.step.to_owned(),
                reason,
            },
            &[],
        )
        .ok();
    }
    result
}

fn serve(socket: &OwnedFd) -> Result<Entered, ShellError> {
    let (Order::Prepare { steps }, _) = channel::receive(socket)? else {
        return Err(ShellError::Order { wanted: "prepare" });
    };
    let mut listeners = Vec::new();
    for step in steps {
        prepare(step, &mut listeners)?;
    }
    let borrowed: Vec<_> = listeners.iter().map(OwnedFd::as_fd).collect();
    channel::send(socket, &Report::Ready, &borrowed)?;
    drop(listeners);

    let (Order::Enter { steps, parts }, descriptors) = channel::receive(socket)? else {
        return Err(ShellError::Order { wanted: "enter" });
    };
    let reader = parts.contains(&Part::Changes);
    let mut parts: Parts = parts.into_iter().zip(descriptors).collect();
    let mut listeners = Vec::new();
    for step in steps {
        enter(&step, &mut parts, &mut listeners)?;
    }
    let guest_socket = parts.remove(&Part::GuestSocket).ok_or(ShellError::Order {
        wanted: "a guest socket",
    })?;
    let borrowed: Vec<_> = listeners.iter().map(OwnedFd::as_fd).collect();
    channel::send(socket, &Report::Entered, &borrowed)?;
    Ok(Entered {
        guest_socket,
        outbox: parts.remove(&Part::Outbox),
        reader,
    })
}

fn prepare(step: PrepareStep, listeners: &mut Vec<OwnedFd>) -> Result<(), StepError> {
    match step {
        PrepareStep::DieWithJailer => {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .during("die with the jailer", String::new)
        }
        PrepareStep::CgroupNamespace => {
            sys::unshare(rustix::thread::UnshareFlags::NEWCGROUP).during("cgroup namespace", String::new)
        }
        PrepareStep::HostName => {
            rustix::system::sethostname(b"sandbox").during("set host name", || "sandbox".to_owned())
        }
        PrepareStep::Loopback => network::loopback(),
        PrepareStep::Listeners => network::listeners().map(|bound| listeners.extend(bound)),
        PrepareStep::Proc => proc_files::mount(),
        PrepareStep::Devices => devices::mount(),
    }
}

fn enter(step: &EnterStep, parts: &mut Parts, listeners: &mut Vec<OwnedFd>) -> Result<(), StepError> {
    match step {
        EnterStep::AttachLayers => overlay::attach_layer(parts, Part::Image, "image")
            .and_then(|()| overlay::attach_layer(parts, Part::Disk, "disk")),
        EnterStep::RootOverlay(durability) => overlay::mount("image", "root", "", *durability),
        EnterStep::AttachRoot => root::attach(parts, Part::Image, ""),
        EnterStep::AttachUsr => root::attach_usr(parts),
        EnterStep::AttachRuntime => root::attach(parts, Part::Runtime, root::RUNTIME),
        EnterStep::WorkspaceOverlay(durability) => overlay::attach_layer(parts, Part::Workspace, "workspace")
            .and_then(|()| overlay::mount("workspace", "workspace", "workspace", *durability)),
        EnterStep::Mask(paths) => root::mask_workspace(paths),
        EnterStep::AttachChanges => root::attach(parts, Part::Changes, root::CHANGES),
        EnterStep::AttachKernelFiles => root::attach_kernel_files(),
        EnterStep::MemoryInfo(bytes) => proc_files::show_memory(*bytes),
        EnterStep::ResourceLimits { processes } => limit_resources(*processes),
        EnterStep::EgressListeners(wanted) => network::egress(wanted).map(|bound| listeners.extend(bound)),
        EnterStep::OutliveJailer => {
            rustix::process::set_parent_process_death_signal(None).during("outlive the jailer", String::new)
        }
        EnterStep::PivotRoot => root::pivot(),
        EnterStep::NoNewPrivileges => {
            rustix::thread::set_no_new_privs(true).during("set no_new_privs", String::new)
        }
        EnterStep::Landlock { writable } => landlock::restrict(*writable),
        EnterStep::DropCapabilities => capabilities::drop_all_but_the_guests(),
        EnterStep::HideFromAgent => {
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
                .during("make undumpable", String::new)
        }
        EnterStep::Seccomp => seccomp::install().during("install seccomp filter", String::new),
    }
}

fn limit_resources(processes: Option<u32>) -> Result<(), StepError> {
    let mut limits = vec![(Resource::Nofile, MOST_DESCRIPTORS), (Resource::Core, 0)];
    limits.extend(processes.map(|most| (Resource::Nproc, most.into())));
    limits.into_iter().try_for_each(|(resource, most)| {
        // A limit that is lower already stays.
        let most = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).during("limit resource", || format!("{resource:?} to {most}"))
    })
}
