//! What is said to be enforced here, which the attacks rely on: as root everything, as an ordinary user what needs no
//! help from the system.

use crate::calls::{is_root, outside};
use crate::place::Machine;
use sandbox::Aspect;
use std::path::Path;

/// Whether this user has a range of ids, and the program that maps it.
fn has_subordinate_ids() -> bool {
    let name = std::process::Command::new("id").arg("-un").output().unwrap();
    let name = String::from_utf8(name.stdout).unwrap();
    let has_line = |file: &str| {
        let lines = std::fs::read_to_string(file).unwrap_or_default();
        lines
            .lines()
            .any(|line| line.starts_with(&format!("{}:", name.trim())))
    };
    Path::new("/usr/bin/newuidmap").exists() && has_line("/etc/subuid") && has_line("/etc/subgid")
}

fn has_landlock() -> bool {
    let version = format!(
        "say('version', libc.syscall({}, None, 0, 1))",
        libc::SYS_landlock_create_ruleset
    );
    outside(&version).of("version").parse::<i64>().unwrap() > 0
}

/// A group of this process's that this user may make groups in.
fn has_delegated_cgroup() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    path.is_some_and(|path| {
        let procs = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
        rustix::fs::access(procs.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
    })
}

#[tokio::test]
async fn exactly_what_holds_is_said_to_hold() {
    let machine = Machine::start().await;
    let cgroup = is_root() || has_delegated_cgroup();
    for aspect in Aspect::ALL {
        let holds = match aspect {
            // Where there is no cgroup for processes, the kernel counts those of a user namespace.
            Aspect::Namespaces | Aspect::Network | Aspect::Seccomp | Aspect::PidLimit => true,
            Aspect::SeparateUsers => is_root() || has_subordinate_ids(),
            Aspect::Landlock => has_landlock(),
            Aspect::CpuLimit | Aspect::MemoryLimit | Aspect::Freeze => cgroup,
            Aspect::DiskLimit => is_root(),
        };
        assert_eq!(
            machine.enforces(aspect),
            holds,
            "{aspect:?}: {:?}",
            machine.report
        );
    }
    let said = machine.report.aspects.iter().filter(|found| !found.enforced);
    for found in said {
        assert!(!found.detail.is_empty(), "{found:?} says what would help");
    }
}
