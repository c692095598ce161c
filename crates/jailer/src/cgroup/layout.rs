//! Where this machine keeps its control groups, read from `/proc/self/mountinfo` before any namespace is left.

use super::{Controller, v2};
use std::path::{Path, PathBuf};

/// The hierarchies to use, each with the directory below which instances have theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub v2: Option<Hierarchy>,
    pub v1: Vec<Hierarchy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    pub mount: PathBuf,
    pub base: PathBuf,
    pub controllers: Vec<Controller>,
}

/// A line of mountinfo, as far as it matters here.
struct Mount<'a> {
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

fn parse(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let point = left.split(' ').nth(4)?;
    let mut right = right.split(' ');
    Some(Mount {
        point,
        kind: right.next()?,
        options: right.nth(1)?,
    })
}

impl Layout {
    /// For root: every hierarchy, below a directory `hostler` at its top.
    pub fn of_machine(mountinfo: &str, read: impl Fn(&Path) -> String) -> Self {
        let mut layout = Self::default();
        for mount in mountinfo.lines().filter_map(parse) {
            let point = PathBuf::from(mount.point);
            let base = point.join("hostler");
            match mount.kind {
                "cgroup2" if layout.v2.is_none() => {
                    let controllers = v2::controllers(&read(&point.join("cgroup.controllers")));
                    layout.v2 = Some(Hierarchy {
                        mount: point,
                        base,
                        controllers,
                    });
                }
                "cgroup" => {
                    let controllers = v1_controllers(mount.options);
                    let known = |controller| layout.v1.iter().any(|one| one.controllers.contains(controller));
                    if !controllers.is_empty() && !controllers.iter().any(known) {
                        layout.v1.push(Hierarchy {
                            mount: point,
                            base,
                            controllers,
                        });
                    }
                }
                _ => {}
            }
        }
        layout.without_needless_freezer()
    }

    /// For an ordinary user: the v2 group this process is in, if it was delegated.
    pub fn delegated(mountinfo: &str, own: &str, writable: impl Fn(&Path) -> bool) -> Self {
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let mount = mountinfo
            .lines()
            .filter_map(parse)
            .find(|mount| mount.kind == "cgroup2");
        let (Some(path), Some(mount)) = (path, mount) else {
            return Self::default();
        };
        let mount = PathBuf::from(mount.point);
        let mut own = mount.join(path);
        // A jailer that is started again finds itself where the last one moved it.
        if own.ends_with(v2::ASIDE) {
            own.pop();
        }
        if !writable(&own.join("cgroup.subtree_control")) {
            return Self::default();
        }
        let text = std::fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
        let controllers = v2::controllers(&text);
        Self {
            v2: Some(Hierarchy {
                base: own.join("hostler"),
                mount: own,
                controllers,
            }),
            v1: Vec::new(),
        }
    }

    /// A v2 hierarchy freezes and kills better, so a v1 hierarchy that only freezes is not joined.
    fn without_needless_freezer(mut self) -> Self {
        if self.v2.is_some() {
            self.v1.retain(|one| one.controllers != [Controller::Freezer]);
        }
        self
    }
}

fn v1_controllers(options: &str) -> Vec<Controller> {
    options
        .split(',')
        .filter_map(|word| match word {
            "cpu" => Some(Controller::Cpu),
            "memory" => Some(Controller::Memory),
            "pids" => Some(Controller::Pids),
            "freezer" => Some(Controller::Freezer),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw";

    #[test]
    fn a_hybrid_machine_limits_by_v1_and_freezes_by_v2() {
        let layout = Layout::of_machine(HYBRID, |_| "hugetlb".to_owned());
        let controllers: Vec<_> = layout.v1.iter().flat_map(|one| one.controllers.clone()).collect();
        assert_eq!(
            controllers,
            [Controller::Cpu, Controller::Memory, Controller::Pids]
        );
        assert_eq!(layout.v2.unwrap().controllers, []);
    }

    #[test]
    fn a_pure_v2_machine_needs_one_hierarchy() {
        let line = "25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let layout = Layout::of_machine(line, |_| "cpuset cpu io memory pids".to_owned());
        assert_eq!(layout.v1, []);
        assert_eq!(layout.v2.unwrap().base, Path::new("/sys/fs/cgroup/hostler"));
    }

    #[test]
    fn a_process_that_was_moved_aside_finds_the_group_that_was_delegated() {
        let line = "25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        for own in ["0::/user.slice/mine\n", "0::/user.slice/mine/hostler-main\n"] {
            let layout = Layout::delegated(line, own, |_| true);
            let base = layout.v2.unwrap().base;
            assert_eq!(base, Path::new("/sys/fs/cgroup/user.slice/mine/hostler"));
        }
    }

    #[test]
    fn a_user_without_a_delegated_group_has_none() {
        let line = "25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(
            Layout::delegated(line, "0::/user.slice\n", |_| false),
            Layout::default()
        );
    }
}
