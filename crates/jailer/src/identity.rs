//! Users: how those of a sandbox map to those of the host, and how an ordinary user becomes root of a namespace.

use crate::error::{During as _, StepError};
use crate::machine::Identity;
use crate::{disk, sys};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Gid, Pid, Uid, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use rustix::time::Timespec;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// Users and groups in one sandbox.
pub const COUNT: u32 = 65_536;

/// One line of a map: first inside, first outside, how many.
type Line = (u32, u32, u32);

/// The maps of a sandbox whose users start at `base` outside.
pub fn sandbox_map(identity: Identity, base: u32) -> Vec<Line> {
    match identity {
        Identity::Ranges => vec![(0, base, COUNT)],
        // Outside, 0 is the user and the others are subordinate ids: the agent is the user, whose files it works on.
        Identity::Subordinate => {
            vec![
                (0, 1, disk::AGENT),
                (disk::AGENT, 0, 1),
                (disk::AGENT + 1, disk::AGENT + 1, COUNT - disk::AGENT - 1),
            ]
        }
        Identity::Single => vec![(disk::AGENT, 0, 1)],
    }
}

/// The user that a shell runs as: root of its namespace where there is one.
pub fn shell_user(identity: Identity) -> u32 {
    if identity == Identity::Single {
        disk::AGENT
    } else {
        0
    }
}

/// Maps the owners of a workspace's files so that its owner is the agent, whoever that is on the host.
pub fn workspace_map(owner: u32, base: u32) -> Vec<Line> {
    let agent = disk::AGENT;
    if owner == agent {
        return vec![(0, base, COUNT)];
    }
    if owner >= COUNT {
        return vec![
            (0, base, agent),
            (agent + 1, base + agent + 1, COUNT - agent - 1),
            (owner, base + agent, 1),
        ];
    }
    let (low, high) = (owner.min(agent), owner.max(agent));
    let lines = [
        (0, base, low),
        (low, base + high, 1),
        (low + 1, base + low + 1, high - low - 1),
        (high, base + low, 1),
        (high + 1, base + high + 1, COUNT - high - 1),
    ];
    lines.into_iter().filter(|(.., count)| *count > 0).collect()
}

/// Maps the owner of a workspace's files to the agent, and nobody else.
pub fn owner_map(owner: u32, base: u32) -> Vec<Line> {
    vec![(owner, base + disk::AGENT, 1)]
}

/// Writes the maps of a new user namespace.
pub fn write_maps(pid: i32, users: &[Line], groups: &[Line]) -> Result<(), StepError> {
    let text = |lines: &[Line]| {
        lines
            .iter()
            .fold(String::new(), |mut text, (inside, outside, count)| {
                let _ = writeln!(text, "{inside} {outside} {count}");
                text
            })
    };
    for (file, lines) in [("uid_map", users), ("gid_map", groups)] {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, text(lines)).during("map ids", || path)?;
    }
    Ok(())
}

/// Goes on as another user and group with all capabilities, until [`act_as_root`].
pub fn act_as(id: u32) -> Result<(), StepError> {
    let all = sys::effective_capabilities().during("read capabilities", String::new)?;
    let changed = set_effective_group(id)
        .and_then(|()| set_effective_user(id))
        .and_then(|()| sys::set_capabilities(all, 0).during("keep capabilities", || id.to_string()));
    if changed.is_err() {
        act_as_root();
    }
    changed
}

/// A jailer that cannot come back would go on as somebody else, so it ends instead.
pub fn act_as_root() {
    if set_effective_user(0)
        .and_then(|()| set_effective_group(0))
        .is_err()
    {
        sys::exit_now(70);
    }
}

fn set_effective_user(user: u32) -> Result<(), StepError> {
    let (root, user) = (Uid::ROOT, Uid::from_raw(user));
    rustix::thread::set_thread_res_uid(root, user, root).during("set user", || user.as_raw().to_string())
}

fn set_effective_group(group: u32) -> Result<(), StepError> {
    let (root, group) = (Gid::ROOT, Gid::from_raw(group));
    rustix::thread::set_thread_res_gid(root, group, root).during("set group", || group.as_raw().to_string())
}

pub fn user_namespace(pid: i32) -> Result<OwnedFd, StepError> {
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during("open", || path)
}

/// A user namespace that exists only to map owners of files, and the child that it was made with.
#[derive(Debug)]
pub struct Holder {
    pub namespace: OwnedFd,
    /// Ends by itself; somebody has to reap it.
    pub child: OwnedFd,
}

pub fn namespace_for_map(users: &[Line], groups: &[Line]) -> Result<Holder, StepError> {
    let (hold, release) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during("make pipe", String::new)?;
    let child = sys::clone3(libc::CLONE_NEWUSER as u64, None).during("make user namespace", String::new)?;
    let Some(child) = child else {
        drop(release);
        // Ends when the parent lets go, whatever comes back.
        let _ = rustix::io::read(&hold, &mut [0_u8; 1]);
        sys::exit_now(0);
    };
    match write_maps(child.pid, users, groups).and_then(|()| user_namespace(child.pid)) {
        Ok(namespace) => Ok(Holder {
            namespace,
            child: child.pidfd,
        }),
        Err(error) => {
            drop(release);
            reap(&child.pidfd).during("reap", || "holder of a user namespace".to_owned())?;
            Err(error)
        }
    }
}

/// How long a process that is another's child may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a process to end. Its status, if it is a child of this one and ended by itself.
pub fn reap(pidfd: &OwnedFd) -> rustix::io::Result<Option<i32>> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) if await_end(pidfd, PATIENCE) => return Ok(None),
            Err(rustix::io::Errno::CHILD) => return Err(rustix::io::Errno::TIMEDOUT),
            ended => return Ok(ended?.and_then(|status| status.exit_status())),
        }
    }
}

/// Waits for any process to end, and says whether it has.
pub fn await_end(pidfd: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return !fds[0].revents().is_empty(),
        }
    }
}

pub fn lives(pidfd: &OwnedFd) -> bool {
    !await_end(pidfd, Duration::ZERO)
}

/// Makes an ordinary user root of a user namespace that will own those of the sandboxes.
pub fn become_root_of_a_namespace() -> Result<Identity, StepError> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let subordinate = subordinate_range("/etc/subuid", user).zip(subordinate_range("/etc/subgid", user));
    let Some((users, groups)) =
        subordinate.filter(|_| helper("newuidmap").is_some() && helper("newgidmap").is_some())
    else {
        enter_alone(user, group)?;
        return Ok(Identity::Single);
    };
    let (wait, go) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during("make pipe", String::new)?;
    let jailer = rustix::process::getpid();
    let mapper = sys::clone3(0, None).during("start id mapper", String::new)?;
    let Some(mapper) = mapper else {
        drop(go);
        let _ = rustix::io::read(&wait, &mut [0_u8; 1]);
        let done = map_by_helper("newuidmap", jailer, user.as_raw(), users)
            && map_by_helper("newgidmap", jailer, group.as_raw(), groups);
        sys::exit_now(i32::from(!done));
    };
    sys::unshare(UnshareFlags::NEWUSER).during("make user namespace", String::new)?;
    drop(go);
    reap(&mapper.pidfd).during("wait for id mapper", String::new)?;
    sys::unshare(UnshareFlags::NEWNS).during("make mount namespace", String::new)?;
    Ok(Identity::Subordinate)
}

/// Makes an ordinary user root of the namespace that owns that of a sandbox: the one of the jailer that made it.
pub fn enter_namespace_above(pid: i32) -> Result<(), StepError> {
    let below = user_namespace(pid)?;
    let above = sys::parent_namespace(below.as_fd()).during("find user namespace", || pid.to_string())?;
    move_into_link_name_space(above.as_fd(), Some(LinkNameSpaceType::User))
        .during("enter user namespace", || pid.to_string())?;
    sys::unshare(UnshareFlags::NEWNS).during("make mount namespace", String::new)
}

fn enter_alone(user: Uid, group: Gid) -> Result<(), StepError> {
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).during("make user namespace", String::new)?;
    let write = |file: &str, text: String| std::fs::write(file, text).during("map ids", || file.to_owned());
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {} 1", user.as_raw()))?;
    write("/proc/self/gid_map", format!("0 {} 1", group.as_raw()))
}

fn helper(name: &str) -> Option<String> {
    ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .map(|directory| format!("{directory}/{name}"))
        .find(|path| std::path::Path::new(path).exists())
}

fn map_by_helper(name: &str, jailer: Pid, own: u32, first: u32) -> bool {
    let Some(program) = helper(name) else { return false };
    let pid = jailer.as_raw_nonzero().to_string();
    let numbers = [0, own, 1, 1, first, COUNT - 1].map(|number| number.to_string());
    Command::new(program)
        .arg(pid)
        .args(numbers)
        .status()
        .is_ok_and(|status| status.success())
}

/// The first subordinate id of a user that has enough of them.
fn subordinate_range(file: &str, user: Uid) -> Option<u32> {
    let name = user_name(user);
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (first, count) = (
            fields.next()?.parse().ok()?,
            fields.next()?.trim().parse::<u32>().ok()?,
        );
        let own = owner == user.as_raw().to_string() || Some(owner) == name.as_deref();
        (own && count >= COUNT - 1).then_some(first)
    })
}

fn user_name(user: Uid) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let number = user.as_raw().to_string();
    text.lines()
        .find(|line| line.split(':').nth(2) == Some(&number))
        .and_then(|line| line.split(':').next().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(map: &[Line], id: u32) -> Option<u32> {
        map.iter()
            .find(|(inside, _, count)| (*inside..inside + count).contains(&id))
            .map(|(inside, outside, _)| outside + id - inside)
    }

    #[test]
    fn the_owner_of_a_workspace_is_the_agent_and_nobody_is_twice() {
        for owner in [0, 1, 999, 1000, 1001, 65_535, 65_536, 2_000_000] {
            let map = workspace_map(owner, 1 << 20);
            assert_eq!(image(&map, owner), Some((1 << 20) + 1000), "{owner}");
            let mut images: Vec<_> = (0..COUNT)
                .chain([owner])
                .filter_map(|id| image(&map, id))
                .collect();
            images.sort_unstable();
            let before = images.len();
            images.dedup();
            assert!(
                before - images.len() <= 1,
                "{owner}: an id outside stands for two inside"
            );
        }
    }

    #[test]
    fn a_single_user_is_the_agent() {
        assert_eq!(sandbox_map(Identity::Single, 0), [(1000, 0, 1)]);
        assert_eq!(image(&sandbox_map(Identity::Subordinate, 0), 1000), Some(0));
    }
}
