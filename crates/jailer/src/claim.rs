//! Making a sandbox of a shell: each step and its undo.

use crate::channel;
use crate::disk;
use crate::error::{During as _, StepError};
use crate::identity;
use crate::machine::Machine;
use crate::mounts::{self, Attributes};
use crate::plan::{self, ClaimStep, EnterStep};
use crate::protocol::{Spec, Workspace};
use crate::shell::{Order, Part, Parts};
use crate::shells::{SOCKET, Shell};
use crate::sys;
use crate::workshop::Workshop;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags};
use std::path::PathBuf;

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

    fn steps(&self, workshop: &Workshop) -> Vec<ClaimStep> {
        match self {
            Self::Sandbox(spec) => plan::claim(&workshop.machine, spec),
            Self::Reader { .. } => plan::claim_reader(),
        }
    }

    fn enter_steps(&self, machine: &Machine) -> Vec<EnterStep> {
        match self {
            Self::Sandbox(spec) => plan::enter(
                machine,
                spec,
                spec.workspace.as_ref().map_or_else(Vec::new, masked),
            ),
            Self::Reader { .. } => plan::enter_reader(),
        }
    }

    fn spec(&self) -> Result<&Spec, StepError> {
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
    /// It has its directory.
    named: bool,
    parts: Parts,
    done: Vec<ClaimStep>,
}

impl Claim {
    pub fn id(&self) -> &str {
        self.purpose.id()
    }
}

impl Workshop {
    /// Starts to make a sandbox of a shell that is ready; the shell says on its channel when it has become one.
    pub fn claim(&mut self, shell: Shell, purpose: Purpose) -> Result<Claim, StepError> {
        let steps = purpose.steps(self);
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
            ClaimStep::Directory => self.name_directory(claim),
            ClaimStep::SetLimits => {
                let limits = claim.purpose.spec()?.limits;
                if limits == claim.shell.limits {
                    Ok(())
                } else {
                    self.cgroups.set_limits(&claim.shell.name, &limits)
                }
            }
            ClaimStep::Disk => {
                let bytes = claim.purpose.spec()?.limits.disk_bytes;
                let directory = required(claim.shell.directory.as_ref(), "directory")?;
                let mount = self.disks.take(&self.rooms, directory, bytes)?;
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
            ClaimStep::Changes => self.changes(claim),
            ClaimStep::EnterSandbox => enter(claim, &self.machine),
        }
    }

    fn name_directory(&self, claim: &mut Claim) -> Result<(), StepError> {
        let (directory, id) = (&self.sandboxes, claim.purpose.id());
        rustix::fs::renameat_with(
            directory,
            &claim.shell.name,
            directory,
            id,
            RenameFlags::NOREPLACE,
        )
        .during("make directory", || id.to_owned())?;
        claim.named = true;
        Ok(())
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
            Ok((mounts::copy(&directory, "")?, status))
        })?;
        mounts::add_attributes(
            &lower,
            Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV,
        )?;
        if let Some(own) = &claim.shell.user_namespace {
            let base = claim.shell.base();
            if (status.st_uid, status.st_gid) == (disk::AGENT, disk::AGENT) {
                mounts::map_ids(&lower, own, &path)?;
            } else {
                let users = identity::workspace_map(status.st_uid, base);
                let groups = identity::workspace_map(status.st_gid, base);
                let holder = identity::namespace_for_map(&users, &groups)?;
                mounts::map_ids(&lower, &holder.namespace, &path)?;
                self.holders.push(holder);
            }
        }
        let disk = required(claim.parts.get(&Part::Disk), "disk")?;
        let mode = Mode::from_raw_mode(status.st_mode & 0o777 | 0o700);
        rustix::fs::chmodat(disk, "workspace/upper", mode, AtFlags::empty())
            .during("set mode", || "workspace".to_owned())?;
        claim.parts.insert(Part::Workspace, lower);
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
        while let Some(step) = claim.done.pop() {
            failed.extend(self.undo_claim_step(step, claim.purpose.id()).err());
        }
        let reader = matches!(claim.purpose, Purpose::Reader { .. });
        let id = claim.purpose.id().to_owned();
        failed.extend(self.end_shell(claim.shell));
        if reader {
            failed.extend(self.remove_files(&id).err());
        }
        failed
    }

    /// Ends a sandbox that never came to be; it has no files worth keeping.
    pub fn discard(&mut self, claim: Claim) -> Vec<StepError> {
        let (id, named) = (claim.id().to_owned(), claim.named);
        let mut failed = self.unclaim(claim);
        if named {
            failed.extend(self.remove_files(&id).err());
        }
        failed
    }

    fn undo_claim_step(&self, step: ClaimStep, id: &str) -> Result<(), StepError> {
        match step {
            ClaimStep::Directory => {
                match rustix::fs::unlinkat(&self.sandboxes, format!("{id}/{SOCKET}"), AtFlags::empty()) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
                    Err(errno) => Err(errno).during("remove socket", || id.to_owned()),
                }
            }
            // Limits go with the group, layers with their descriptors, and files stay until they are removed.
            ClaimStep::SetLimits
            | ClaimStep::Disk
            | ClaimStep::Image
            | ClaimStep::Usr
            | ClaimStep::Workspace
            | ClaimStep::Changes
            | ClaimStep::EnterSandbox => Ok(()),
        }
    }

    /// Removes the files of a sandbox in a child of its own, for that may take long. Its status says whether it did.
    pub fn start_removal(&self, id: &str) -> Result<sys::Child, StepError> {
        match sys::clone3(0, None).during("start removal", || id.to_owned())? {
            Some(child) => Ok(child),
            None => sys::exit_now(i32::from(self.remove_files(id).is_err())),
        }
    }

    /// Removes the files of a sandbox. Nothing there is fine.
    pub fn remove_files(&self, id: &str) -> Result<(), StepError> {
        let path = self.sandboxes_path.join(id);
        self.rooms.outside(|| match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).during("remove files", || path.display().to_string())
            }
            _ => Ok(()),
        })
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

fn enter(claim: &mut Claim, machine: &Machine) -> Result<(), StepError> {
    let steps = claim.purpose.enter_steps(machine);
    let mut parts = std::mem::take(&mut claim.parts);
    parts.extend(std::mem::take(&mut claim.shell.parts));
    let order = Order::Enter {
        steps,
        parts: parts.keys().copied().collect(),
    };
    let descriptors: Vec<_> = parts.values().map(OwnedFd::as_fd).collect();
    channel::send(&claim.shell.channel, &order, &descriptors)
        .map_err(std::io::Error::other)
        .during("enter sandbox", || claim.shell.name.clone())
}
