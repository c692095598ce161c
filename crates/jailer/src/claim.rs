//! Making a sandbox of a shell: each step and its undo. The last one, [`Workshop::commit`], is what a jailer that is
//! killed before it undoes at its next start, and after it goes on with.

use crate::adopt;
use crate::disk::{self, inherit};
use crate::error::{During as _, StepError};
use crate::identity;
use crate::machine::Machine;
use crate::mounts::{self, Attributes};
use crate::plan::{self, ClaimStep, EnterStep};
use crate::protocol::{Spec, Workspace};
use crate::record::{Record, Stage};
use crate::shell::{Order, Part, Parts};
use crate::shells::{SOCKET, Shell};
use crate::sys::{self, Child};
use crate::workshop::Workshop;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::path::PathBuf;

/// Programs that play agents, below the data directory.
const RUNTIMES: &str = "runtimes";

/// What a shell is to become.
#[derive(Debug, Clone)]
pub enum Purpose {
    Sandbox(Spec),
    Reader { id: String, of: String },
}

impl Purpose {
    pub fn id(&self) -> &str {
        match self {
            Self::Sandbox(spec) => &spec.id,
            Self::Reader { id, .. } => id,
        }
    }

    fn steps(&self, machine: &Machine, stays: bool) -> Vec<ClaimStep> {
        match self {
            Self::Sandbox(spec) => plan::claim(machine, spec, stays),
            Self::Reader { .. } => plan::claim_reader(),
        }
    }

    fn enter_steps(&self, machine: &Machine, stays: bool) -> Vec<EnterStep> {
        match self {
            Self::Sandbox(spec) => {
                let masked = spec.workspace.as_ref().map_or_else(Vec::new, masked);
                plan::enter(machine, spec, (masked, stays))
            }
            Self::Reader { .. } => plan::enter_reader(),
        }
    }

    pub fn spec(&self) -> Result<&Spec, StepError> {
        match self {
            Self::Sandbox(spec) => Ok(spec),
            Self::Reader { .. } => Err(std::io::Error::from(std::io::ErrorKind::InvalidInput))
                .during("claim", || "a reader".to_owned()),
        }
    }
}

/// A shell on its way to being a sandbox, and then the sandbox.
#[derive(Debug)]
pub struct Claim {
    pub purpose: Purpose,
    pub shell: Shell,
    /// Its directory has its name.
    named: bool,
    parts: Parts,
    done: Vec<ClaimStep>,
}

impl Claim {
    pub fn id(&self) -> &str {
        self.purpose.id()
    }

    pub fn is_reader(&self) -> bool {
        matches!(self.purpose, Purpose::Reader { .. })
    }

    /// The name that its directory has now.
    fn directory(&self) -> &str {
        if self.named { self.id() } else { &self.shell.name }
    }

    /// A sandbox that another jailer made.
    pub fn adopted(record: Record, child: Child, machine: &Machine) -> Self {
        let shell = Shell::adopted(&record, child, machine);
        let spec = Spec {
            id: record.id,
            limits: record.limits,
            workspace: None,
            egress_ports: record.egress_ports,
            files_from: None,
            runtime: None,
        };
        Self {
            done: plan::claim(machine, &spec, true),
            purpose: Purpose::Sandbox(spec),
            shell,
            named: true,
            parts: Parts::new(),
        }
    }
}

impl Workshop {
    /// Starts to make a sandbox of a shell that is ready; the shell says on its channel when it has become one.
    pub fn claim(&mut self, shell: Shell, purpose: Purpose) -> Result<Claim, StepError> {
        let steps = purpose.steps(&self.machine, self.records.is_some());
        let mut claim = Claim {
            purpose,
            shell,
            named: false,
            parts: Parts::new(),
            done: Vec::new(),
        };
        for step in steps {
            if let Err(error) = self.claim_step(step, &mut claim) {
                self.discard(claim);
                return Err(error);
            }
            claim.done.push(step);
        }
        claim.shell.directory = None;
        Ok(claim)
    }

    fn claim_step(&mut self, step: ClaimStep, claim: &mut Claim) -> Result<(), StepError> {
        match step {
            ClaimStep::FreeName if disk::has_entry(&self.sandboxes, claim.id()) => {
                Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists))
                    .during("make directory", || claim.id().to_owned())
            }
            ClaimStep::FreeName => Ok(()),
            ClaimStep::Record => self.write_down(claim),
            ClaimStep::SetLimits => {
                let limits = claim.purpose.spec()?.limits;
                if limits == claim.shell.limits {
                    Ok(())
                } else {
                    self.cgroups.set_limits(&claim.shell.name, &limits)
                }
            }
            ClaimStep::Disk => {
                let spec = claim.purpose.spec()?;
                let directory = required(claim.shell.directory.as_ref(), "directory")?;
                let mount = if let Some(old) = &spec.files_from {
                    inherit::take(&self.sandboxes, old, directory)?;
                    self.disks.open_again(&self.rooms, directory)?
                } else {
                    self.disks.take(&self.rooms, directory, spec.limits.disk_bytes)?
                };
                map_owners(&mount, &claim.shell, "disk")?;
                claim.parts.insert(Part::Disk, mount);
                Ok(())
            }
            ClaimStep::Image => {
                let image = mounts::copy(CWD, "/image")?;
                map_owners(&image, &claim.shell, "image")?;
                claim.parts.insert(Part::Image, image);
                Ok(())
            }
            ClaimStep::Usr => {
                let usr = mounts::copy(CWD, "/usr")?;
                mounts::add_attributes(
                    &usr,
                    Attributes::MOUNT_ATTR_RDONLY
                        | Attributes::MOUNT_ATTR_NOSUID
                        | Attributes::MOUNT_ATTR_NODEV,
                )?;
                // Where the file system cannot map owners, programs belong to nobody, and run all the same.
                map_owners(&usr, &claim.shell, "/usr").ok();
                claim.parts.insert(Part::Usr, usr);
                Ok(())
            }
            ClaimStep::Workspace => self.workspace(claim),
            ClaimStep::Runtime => self.runtime(claim),
            ClaimStep::Changes => self.changes(claim),
            ClaimStep::EnterSandbox => {
                let steps = claim.purpose.enter_steps(&self.machine, self.records.is_some());
                enter(claim, steps)
            }
        }
    }

    fn write_down(&self, claim: &Claim) -> Result<(), StepError> {
        let records = required(self.records.as_ref(), "records")?;
        let (spec, shell) = (claim.purpose.spec()?, &claim.shell);
        let record = Record {
            id: spec.id.clone(),
            boot: records.boot.clone(),
            identity: self.machine.identity,
            pid: shell.pid(),
            started: required(adopt::start_of(shell.pid()), "process")?,
            name: shell.name.clone(),
            range: shell.range.map(|range| range.number),
            limits: spec.limits,
            egress_ports: spec.egress_ports.clone(),
        };
        records.begin(&record)
    }

    /// The shell has become the sandbox: from here on it is one, whoever is killed. Its directory gets its name.
    pub fn commit(&self, claim: &mut Claim) -> Result<(), StepError> {
        let id = claim.id().to_owned();
        if let (Some(records), false) = (&self.records, claim.is_reader()) {
            records.go(&id, Stage::Building, Stage::Running)?;
        }
        let (directory, flags) = (&self.sandboxes, RenameFlags::NOREPLACE);
        rustix::fs::renameat_with(directory, &claim.shell.name, directory, &id, flags)
            .during("name directory", || id)?;
        claim.named = true;
        claim.shell.channel = None;
        claim.shell.user_namespace = None;
        match claim
            .purpose
            .spec()
            .ok()
            .and_then(|spec| spec.files_from.as_ref())
        {
            Some(old) => inherit::settle(&self.sandboxes, old),
            None => Ok(()),
        }
    }

    /// From here on the sandbox is on its way out, whoever is killed.
    pub fn begin_end(&self, claim: &Claim) {
        if let (Some(records), false) = (&self.records, claim.is_reader()) {
            // Where this fails, a jailer that comes after this one goes on with what is left, and is told again to end it.
            records.go(claim.id(), Stage::Running, Stage::Ending).ok();
        }
        self.kill(&claim.shell);
    }

    /// Opened where the host's mounts are, so that mounts of it can be copied there.
    pub fn open_directory(&self, id: &str) -> Result<OwnedFd, StepError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.sandboxes, id, flags, Mode::empty())
            .during("open directory", || id.to_owned())
    }

    fn workspace(&mut self, claim: &mut Claim) -> Result<(), StepError> {
        let workspace = claim.purpose.spec()?.workspace.clone();
        let workspace = required(workspace, "workspace")?;
        let path = workspace.path.display().to_string();
        let (lower, status) = self.rooms.outside(|| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::openat2(
                CWD,
                &workspace.path,
                flags,
                Mode::empty(),
                ResolveFlags::NO_SYMLINKS,
            )
            .during("open workspace", || path.clone())?;
            let status = rustix::fs::fstat(&directory).during("read workspace", || path.clone())?;
            if self.user.is_some_and(|user| !user.owns(status.st_uid)) {
                return Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied))
                    .during("open workspace", || format!("{path} is not the server's own"));
            }
            Ok((mounts::copy(&directory, "")?, status))
        })?;
        mounts::add_attributes(
            &lower,
            Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV,
        )?;
        if let Some(own) = &claim.shell.user_namespace {
            let base = claim.shell.base();
            if (status.st_uid, status.st_gid) == (disk::AGENT, disk::AGENT) && self.user.is_none() {
                mounts::map_ids(&lower, own, &path)?;
            } else {
                // A server's own directory may hold files of others, root's among them: they are nobody's inside.
                let map = |owner| match self.user {
                    Some(_) => identity::owner_map(owner, base),
                    None => identity::workspace_map(owner, base),
                };
                let (users, groups) = (map(status.st_uid), map(status.st_gid));
                let holder = identity::namespace_for_map(&users, &groups)?;
                mounts::map_ids(&lower, &holder.namespace, &path)?;
                self.holders.push(holder);
            }
        }
        if claim.purpose.spec()?.files_from.is_none() {
            let disk = required(claim.parts.get(&Part::Disk), "disk")?;
            let mode = Mode::from_raw_mode(status.st_mode & 0o777 | 0o700);
            rustix::fs::chmodat(disk, "workspace/upper", mode, AtFlags::empty())
                .during("set mode", || "workspace".to_owned())?;
        }
        claim.parts.insert(Part::Workspace, lower);
        Ok(())
    }

    /// Below the data directory, to which others than the jailer write: nothing of it leads out, and what is there runs
    /// only in the sandbox.
    fn runtime(&self, claim: &mut Claim) -> Result<(), StepError> {
        let runtime = required(claim.purpose.spec()?.runtime.as_ref(), "runtime")?;
        let path = format!("{RUNTIMES}/{}/{}", runtime.name, runtime.version);
        let runtime = self.rooms.outside(|| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let directory = rustix::fs::openat2(&self.data, &path, flags, Mode::empty(), resolve)
                .during("open runtime", || path.clone())?;
            mounts::copy(&directory, "")
        })?;
        let attributes =
            Attributes::MOUNT_ATTR_RDONLY | Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV;
        mounts::add_attributes(&runtime, attributes)?;
        // As with programs of the machine.
        map_owners(&runtime, &claim.shell, &path).ok();
        claim.parts.insert(Part::Runtime, runtime);
        Ok(())
    }

    fn changes(&self, claim: &mut Claim) -> Result<(), StepError> {
        let Purpose::Reader { of, .. } = &claim.purpose else {
            return Ok(());
        };
        let of = self.open_directory(of)?;
        let disk = self.disks.open(&self.rooms, &of)?;
        let changes = disk::workspace_changes(&disk)?;
        let attributes = Attributes::MOUNT_ATTR_RDONLY
            | Attributes::MOUNT_ATTR_NOSUID
            | Attributes::MOUNT_ATTR_NODEV
            | Attributes::MOUNT_ATTR_NOEXEC;
        mounts::add_attributes(&changes, attributes)?;
        map_owners(&changes, &claim.shell, "changes")?;
        claim.parts.insert(Part::Changes, changes);
        Ok(())
    }

    /// Ends a sandbox: every process, then everything of it but its files. What failed is returned.
    pub fn unclaim(&mut self, mut claim: Claim) -> Vec<StepError> {
        let mut failed = Vec::new();
        let directory = claim.directory().to_owned();
        let (id, is_reader) = (claim.id().to_owned(), claim.is_reader());
        let was_recorded = claim.done.contains(&ClaimStep::Record);
        while let Some(step) = claim.done.pop() {
            failed.extend(self.undo_claim_step(step, &directory).err());
        }
        failed.extend(self.end_shell(claim.shell));
        if is_reader {
            failed.extend(self.remove_files(&directory).err());
        }
        // Where something stays, the record does too, and the next start does it.
        if let Some(records) = self
            .records
            .as_ref()
            .filter(|_| was_recorded && failed.is_empty())
        {
            records.remove(&id);
        }
        failed
    }

    /// Ends a sandbox that never came to be, or that nobody was told of. Its files go; those of another one go back.
    pub fn discard(&mut self, claim: Claim) -> Vec<StepError> {
        let directory = claim.directory().to_owned();
        let mut failed = self.unclaim(claim);
        failed.extend(self.discard_files(&directory).err());
        failed
    }

    pub fn discard_files(&self, directory: &str) -> Result<(), StepError> {
        inherit::give_back(&self.sandboxes, directory)?;
        self.remove_files(directory)
    }

    fn undo_claim_step(&self, step: ClaimStep, directory: &str) -> Result<(), StepError> {
        match step {
            ClaimStep::FreeName => {
                let socket = format!("{directory}/{SOCKET}");
                match rustix::fs::unlinkat(&self.sandboxes, socket, AtFlags::empty()) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
                    Err(errno) => Err(errno).during("remove socket", || directory.to_owned()),
                }
            }
            // The record goes last, limits go with the group, layers with their descriptors, and files stay until they
            // are removed.
            ClaimStep::Record
            | ClaimStep::SetLimits
            | ClaimStep::Disk
            | ClaimStep::Image
            | ClaimStep::Usr
            | ClaimStep::Workspace
            | ClaimStep::Runtime
            | ClaimStep::Changes
            | ClaimStep::EnterSandbox => Ok(()),
        }
    }

    /// Removes the files of a sandbox in a child of its own, for that may take long. Its status says whether it did. It
    /// holds what the jailer holds, and so ends with it.
    pub fn start_removal(&self, id: &str) -> Result<Child, StepError> {
        let jailer = rustix::process::getpid();
        let child = sys::clone3(0, None).during("start removal", || id.to_owned())?;
        let Some(child) = child else {
            let tied = set_parent_process_death_signal(Some(Signal::KILL));
            let is_late = rustix::process::getppid() != Some(jailer);
            let failed = tied.is_err() || is_late || self.remove_files(id).is_err();
            sys::exit_now(i32::from(failed));
        };
        Ok(child)
    }

    /// Removes the directory of a sandbox or shell. Nothing there is fine.
    pub fn remove_files(&self, directory: &str) -> Result<(), StepError> {
        disk::remove_tree(&self.sandboxes, directory)
    }

    pub fn socket_path(&self, id: &str) -> PathBuf {
        self.sandboxes_path.join(id).join(SOCKET)
    }
}

fn required<T>(found: Option<T>, what: &str) -> Result<T, StepError> {
    found
        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
        .during("claim", || format!("no {what} at this step"))
}

/// Where sandboxes have ranges of users, what belongs to user 0 on the mount belongs to the first of the range.
fn map_owners(mount: &OwnedFd, shell: &Shell, what: &str) -> Result<(), StepError> {
    shell
        .user_namespace
        .as_ref()
        .map_or(Ok(()), |namespace| mounts::map_ids(mount, namespace, what))
}

fn masked(workspace: &Workspace) -> Vec<String> {
    let relative = |path: &PathBuf| Some(path.strip_prefix(&workspace.path).ok()?.to_str()?.to_owned());
    workspace
        .masked
        .iter()
        .filter_map(relative)
        .filter(|path| !path.is_empty())
        .collect()
}

fn enter(claim: &mut Claim, steps: Vec<EnterStep>) -> Result<(), StepError> {
    let mut parts = std::mem::take(&mut claim.parts);
    parts.extend(std::mem::take(&mut claim.shell.parts));
    let order = Order::Enter {
        steps,
        parts: parts.keys().copied().collect(),
    };
    let descriptors: Vec<_> = parts.values().map(OwnedFd::as_fd).collect();
    claim.shell.send(&order, &descriptors)
}
