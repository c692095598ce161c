//! Control groups: one group per shell in every hierarchy that this machine has, v2, v1, or both (hybrid).
//!
//! A group is made with its limits before a process enters it. Where there is a v2 hierarchy, even one without
//! controllers, it freezes and kills; else the v1 freezer and the pid namespace do.

pub mod layout;
mod tree;
mod v1;
mod v2;

use crate::error::{During as _, StepError};
use crate::protocol::{Limits, Observation};
use layout::Layout;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a controller limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    Cpu,
    Memory,
    Pids,
    Freezer,
}

/// The hierarchies of one instance.
#[derive(Debug, Default)]
pub struct Cgroups {
    /// The v2 hierarchy and the controllers that it has here.
    v2: Option<(OwnedFd, Vec<Controller>)>,
    /// The v1 hierarchies and what each controls.
    v1: Vec<(OwnedFd, Vec<Controller>)>,
}

impl Cgroups {
    /// Makes the instance's directory in every hierarchy of `layout`.
    pub fn open(layout: &Layout, instance: &str) -> Result<Self, StepError> {
        let open = |base: &Path| {
            let directory = base.join(instance);
            std::fs::create_dir_all(&directory).during("make cgroup", || directory.display().to_string())?;
            rustix::fs::openat(
                CWD,
                &directory,
                OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .during("open cgroup", || directory.display().to_string())
        };
        let mut groups = Self::default();
        if let Some(found) = &layout.v2 {
            let directory = open(&found.base)?;
            let instance = found.base.join(instance);
            let arrived = v2::enable_controllers(&instance, &found.mount, &found.controllers);
            groups.v2 = Some((directory, arrived));
        }
        for found in &layout.v1 {
            groups.v1.push((open(&found.base)?, found.controllers.clone()));
        }
        Ok(groups)
    }

    /// Gives a delegated group back as it was, when no instance is left in it.
    pub fn give_back(layout: &Layout) {
        let unused = layout.v2.iter().filter(|hierarchy| !hierarchy.base.exists());
        unused.for_each(|hierarchy| v2::move_back(&hierarchy.mount));
    }

    pub fn limits(&self, controller: Controller) -> bool {
        self.v2
            .iter()
            .chain(&self.v1)
            .any(|(_, controllers)| controllers.contains(&controller))
    }

    pub fn freezes(&self) -> bool {
        self.v2.is_some() || self.limits(Controller::Freezer)
    }

    /// Makes a group with its limits in every hierarchy.
    pub fn make(&self, name: &str, limits: &Limits) -> Result<(), StepError> {
        for (directory, _) in self.v2.iter().chain(&self.v1) {
            rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755))
                .during("make cgroup", || name.to_owned())?;
        }
        self.set_limits(name, limits)
    }

    pub fn set_limits(&self, name: &str, limits: &Limits) -> Result<(), StepError> {
        if let Some((directory, controllers)) = &self.v2 {
            v2::set_limits(directory, name, controllers, limits)?;
        }
        for (directory, controllers) in &self.v1 {
            v1::set_limits(directory, name, controllers, limits)?;
        }
        Ok(())
    }

    /// The v2 group, for a child to be made in.
    pub fn clone_target(&self, name: &str) -> Result<Option<OwnedFd>, StepError> {
        let Some((directory, _)) = &self.v2 else {
            return Ok(None);
        };
        rustix::fs::openat(
            directory,
            name,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .during("open cgroup", || name.to_owned())
        .map(Some)
    }

    /// Moves a process into its v1 groups; in v2 it was made there.
    pub fn join(&self, name: &str, pid: i32) -> Result<(), StepError> {
        for (directory, _) in &self.v1 {
            tree::write(directory, name, "cgroup.procs", &pid.to_string())?;
        }
        Ok(())
    }

    /// Stops every process and returns when they have stopped.
    pub fn freeze(&self, name: &str, patience: Duration) -> Result<(), StepError> {
        self.set_frozen(name, true)?;
        let deadline = Instant::now() + patience;
        while !self.is_frozen(name) {
            if Instant::now() > deadline {
                let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                return Err(late).during("freeze cgroup", || name.to_owned());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    pub fn thaw(&self, name: &str) -> Result<(), StepError> {
        self.set_frozen(name, false)
    }

    fn set_frozen(&self, name: &str, frozen: bool) -> Result<(), StepError> {
        if let Some((directory, _)) = &self.v2 {
            return tree::write(directory, name, "cgroup.freeze", if frozen { "1" } else { "0" });
        }
        match self
            .v1
            .iter()
            .find(|(_, controllers)| controllers.contains(&Controller::Freezer))
        {
            Some((directory, _)) => tree::write(
                directory,
                name,
                "freezer.state",
                if frozen { "FROZEN" } else { "THAWED" },
            ),
            None => Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
                .during("freeze", || "no cgroup freezer on this machine".to_owned()),
        }
    }

    fn is_frozen(&self, name: &str) -> bool {
        if let Some((directory, _)) = &self.v2 {
            return tree::read_key(directory, name, "cgroup.events", "frozen") == Some(1);
        }
        self.v1
            .iter()
            .filter(|(_, controllers)| controllers.contains(&Controller::Freezer))
            .any(|(directory, _)| {
                tree::read(directory, name, "freezer.state").is_some_and(|state| state.trim() == "FROZEN")
            })
    }

    /// Ends every process of a group, frozen or not. They may take a moment to be gone.
    pub fn kill(&self, name: &str) {
        if let Some((directory, _)) = &self.v2
            && tree::write(directory, name, "cgroup.kill", "1").is_ok()
        {
            return;
        }
        for (directory, _) in self.v2.iter().chain(&self.v1) {
            tree::kill_members(directory, name);
        }
        // A process that is frozen dies when it is thawed. Where nothing froze it, there is nothing to thaw.
        self.thaw(name).ok();
    }

    /// Removes a group whose processes are gone or about to be.
    pub fn remove(&self, name: &str, patience: Duration) -> Result<(), StepError> {
        let deadline = Instant::now() + patience;
        for (directory, _) in self.v2.iter().chain(&self.v1) {
            tree::remove(directory, name, deadline)?;
        }
        Ok(())
    }

    /// The names of all groups of this instance, in any hierarchy.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .v2
            .iter()
            .chain(&self.v1)
            .flat_map(|(directory, _)| tree::names(directory))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    pub fn observe(&self, name: &str, observation: &mut Observation) {
        observation.frozen = self.is_frozen(name);
        if let Some((directory, controllers)) = &self.v2 {
            v2::observe(directory, name, controllers, observation);
        }
        for (directory, controllers) in &self.v1 {
            v1::observe(directory, name, controllers, observation);
        }
    }
}

fn directory(fd: &OwnedFd) -> BorrowedFd<'_> {
    rustix::fd::AsFd::as_fd(fd)
}
