//! What is kept in memory for something idle: the proportional share of its processes, and what the kernel keeps for it.

use std::collections::BTreeSet;
use std::path::Path;

/// What the kernel keeps for itself, in `/proc/meminfo`.
const KERNEL: [&str; 4] = ["Slab", "KernelStack", "PageTables", "Percpu"];

/// The whole machine at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    processes: BTreeSet<u32>,
    kernel_bytes: u64,
}

/// What came since a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Growth {
    /// Of the new processes in pid namespaces other than ours. Nothing if the kernel does not show us one of them.
    pub(crate) proportional_bytes: Option<u64>,
    /// Also that of everything else that happened on the machine meanwhile.
    pub(crate) kernel_bytes: u64,
}

impl Snapshot {
    pub(crate) fn take() -> Self {
        Self {
            processes: processes().collect(),
            kernel_bytes: kernel_bytes(),
        }
    }

    pub(crate) fn growth(&self) -> Growth {
        let own = namespace(std::process::id());
        let inside = processes()
            .filter(|process| !self.processes.contains(process))
            .filter(|process| namespace(*process).is_none_or(|other| Some(other) != own));
        Growth {
            proportional_bytes: inside.map(proportional_bytes).sum(),
            kernel_bytes: kernel_bytes().saturating_sub(self.kernel_bytes),
        }
    }
}

/// The proportional share of a process and all its descendants.
pub(crate) fn of_tree(root: u32) -> Option<u64> {
    let parents: Vec<(u32, u32)> = processes()
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(process) = tree.get(next).copied() {
        tree.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == process)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    tree.into_iter().map(proportional_bytes).sum()
}

/// What of a process is in memory, shared or not.
pub(crate) fn resident_bytes(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    meminfo_bytes(&text, "VmRSS")
}

/// The proportional share of a process.
pub(crate) fn of_process(process: u32) -> Option<u64> {
    proportional_bytes(process)
}

pub(crate) fn descriptors(process: u32) -> Option<u64> {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    Some(open.count() as u64)
}

/// A value of `/proc/meminfo`, which counts in KiB.
pub(crate) fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    kibibytes(text, name).map(|kibibytes| kibibytes << 10)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn namespace(process: u32) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/pid")).ok()
}

/// The fourth field of `stat`; the second is a name in parentheses that may hold anything.
fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Nothing where the kernel does not tell; a process that is gone has none.
fn proportional_bytes(process: u32) -> Option<u64> {
    let directory = format!("/proc/{process}");
    match std::fs::read_to_string(format!("{directory}/smaps_rollup")) {
        // A kernel thread or a zombie has an empty one.
        Ok(text) => Some(kibibytes(&text, "Pss").unwrap_or(0) << 10),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Some(0),
        Err(_) if !Path::new(&directory).exists() => Some(0),
        Err(_) => None,
    }
}

fn kernel_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    KERNEL.iter().filter_map(|name| meminfo_bytes(&text, name)).sum()
}

/// `Name:   123 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name)
            .then(|| value.split_whitespace().next()?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_their_whole_name() {
        let text = "Pss_Dirty:  9 kB\nPss:       44 kB\nPss_Anon:  20 kB\n";
        assert_eq!(kibibytes(text, "Pss"), Some(44));
        assert_eq!(kibibytes(text, "Rss"), None);
        assert_eq!(meminfo_bytes("Slab:  2 kB\n", "Slab"), Some(2048));
    }

    #[test]
    fn a_process_has_memory_and_descriptors() {
        let own = std::process::id();
        assert!(resident_bytes(own).unwrap() >= of_process(own).unwrap() / 2);
        assert!(descriptors(own).unwrap() >= 3);
        assert_eq!((resident_bytes(u32::MAX), descriptors(u32::MAX)), (None, None));
    }

    #[test]
    fn a_tree_is_at_least_its_root() {
        let own = proportional_bytes(std::process::id()).unwrap();
        assert!(own > 0);
        assert!(of_tree(std::process::id()).unwrap() >= own / 2);
    }

    #[test]
    fn a_process_that_is_gone_weighs_nothing() {
        assert_eq!(proportional_bytes(u32::MAX), Some(0));
    }

    #[test]
    fn our_own_namespace_does_not_count_as_growth() {
        let before = Snapshot {
            processes: BTreeSet::new(),
            kernel_bytes: u64::MAX,
        };
        let growth = before.growth();
        assert_eq!(growth.kernel_bytes, 0);
        assert_eq!(
            parent(std::process::id()),
            Some(std::os::unix::process::parent_id())
        );
    }
}
