//! What this machine allows, found out once when the jailer starts, and said aspect by aspect.

use crate::cgroup::{Cgroups, Controller};
use crate::protocol::Finding;
use serde::{Deserialize, Serialize};

/// How a sandbox's users relate to the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// As root: 65,536 users of its own for each sandbox.
    Ranges,
    /// As a user with subordinate ids: guest and agent are different users; all sandboxes of the user share them.
    Subordinate,
    /// As a user without: guest and agent are the user.
    Single,
}

/// How the disk limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskMeans {
    /// A file system of its own in a sparse file.
    Loop,
    /// A directory: nothing limits it.
    Directory,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub identity: Identity,
    pub has_cgroups: bool,
    /// By a cgroup.
    pub limits_pids: bool,
    pub disk: DiskMeans,
    /// Why there is no disk limit.
    pub disk_reason: String,
    pub landlock: i32,
}

/// What helps where a control group is missing.
const NO_CGROUP: &str =
    "no cgroup that this user may use; run as root, or under `systemd-run --user --scope -p Delegate=yes`";

impl Machine {
    pub fn findings(&self, cgroups: &Cgroups) -> Vec<Finding> {
        let limit = |aspect: &str, controller| match (cgroups.limits(controller), self.identity) {
            (true, _) => found(aspect, true, "cgroup"),
            (false, Identity::Ranges) => found(aspect, false, "this machine has no cgroup controller for it"),
            (false, _) => found(aspect, false, NO_CGROUP),
        };
        let users = match self.identity {
            Identity::Ranges => found("separate_users", true, "65536 users of its own for each sandbox"),
            Identity::Subordinate => found(
                "separate_users",
                true,
                "subordinate ids of this user, shared by its sandboxes",
            ),
            Identity::Single => found(
                "separate_users",
                false,
                "no subordinate ids: install `uidmap` and give this user a range in /etc/subuid and /etc/subgid",
            ),
        };
        vec![
            found("namespaces", true, "user, mount, pid, network, ipc, uts, cgroup"),
            users,
            found("network", true, "a namespace with only lo"),
            found("seccomp", true, "allow-list"),
            match self.landlock {
                0 => found(
                    "landlock",
                    false,
                    "this kernel has none; mounts and file modes still hold",
                ),
                version => found("landlock", true, &format!("version {version}")),
            },
            limit("cpu_limit", Controller::Cpu),
            limit("memory_limit", Controller::Memory),
            if self.limits_pids {
                limit("pid_limit", Controller::Pids)
            } else {
                found(
                    "pid_limit",
                    true,
                    "resource limit of the sandbox's user namespace",
                )
            },
            match self.disk {
                DiskMeans::Loop => found("disk_limit", true, "a file system of its own in a sparse file"),
                DiskMeans::Directory => found("disk_limit", false, &self.disk_reason),
            },
            if cgroups.freezes() {
                found("freeze", true, "cgroup freezer")
            } else {
                found("freeze", false, NO_CGROUP)
            },
        ]
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self {
            identity: Identity::Ranges,
            has_cgroups: true,
            limits_pids: true,
            disk: DiskMeans::Loop,
            disk_reason: String::new(),
            landlock: 5,
        }
    }
}

fn found(aspect: &str, enforced: bool, detail: &str) -> Finding {
    Finding {
        aspect: aspect.to_owned(),
        enforced,
        detail: detail.to_owned(),
    }
}
