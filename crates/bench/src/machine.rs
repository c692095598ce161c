//! What a number was measured on: without it, a number says little.

use serde::Serialize;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Machine {
    cpus: usize,
    cpu: String,
    memory_bytes: u64,
    kernel: String,
    cgroups: &'static str,
    as_root: bool,
    /// Of the last minute: before the run, and after it.
    load_before: f64,
    load_after: f64,
}

impl Machine {
    pub(crate) fn observe() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            memory_bytes: crate::memory::meminfo_bytes(&read("/proc/meminfo"), "MemTotal").unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cgroups: cgroups(),
            as_root: rustix::process::geteuid().is_root(),
            load_before: load(&read("/proc/loadavg")),
            load_after: 0.0,
        }
    }

    pub(crate) fn finish(&mut self) {
        self.load_after = load(&read("/proc/loadavg"));
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            cpus: 2,
            cpu: "a processor".to_owned(),
            memory_bytes: 24 << 30,
            kernel: "6.1".to_owned(),
            cgroups: "v2",
            as_root: true,
            load_before: 0.0,
            load_after: 0.0,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} × {}, {} GiB, Linux {}, cgroups {}, {}, load {:.1} to {:.1}",
            self.cpus,
            self.cpu,
            self.memory_bytes >> 30,
            self.kernel,
            self.cgroups,
            if self.as_root { "root" } else { "ordinary user" },
            self.load_before,
            self.load_after,
        )
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn load(text: &str) -> f64 {
    text.split_whitespace()
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0.0)
}

fn cgroups() -> &'static str {
    let there = |path: &str| std::path::Path::new(path).exists();
    if there("/sys/fs/cgroup/cgroup.controllers") {
        "v2"
    } else if there("/sys/fs/cgroup/unified/cgroup.controllers") {
        "v1 and v2"
    } else if there("/sys/fs/cgroup/memory") {
        "v1"
    } else {
        "none"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_kernel_writes_them() {
        assert_eq!(
            field("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n", "model name"),
            Some("A CPU @ 2 GHz")
        );
        assert_eq!(field("processor\t: 0\n", "model name"), None);
        assert!((load("0.52 0.58 0.59 1/467 12345\n") - 0.52).abs() < 1e-9);
        assert!(load("").abs() < 1e-9);
    }

    #[test]
    fn this_machine_has_processors_memory_and_a_kernel() {
        let machine = Machine::observe();
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && !machine.kernel.is_empty());
    }
}
