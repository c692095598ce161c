//! What instances of hostler have on the machine, to be compared with what they may have.

use std::path::{Path, PathBuf};

/// What of some instances is on the machine, besides what they keep in their data directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    pub processes: Vec<String>,
    pub cgroups: Vec<PathBuf>,
    pub ranges: Vec<PathBuf>,
    pub loop_devices: Vec<String>,
    pub mounts: Vec<String>,
}

impl Left {
    pub fn of(data: &Path, instances: &[String]) -> Self {
        let is_theirs = |text: &str| instances.iter().any(|id| text.contains(id.as_str()));
        let data = data.to_str().unwrap();
        let process = |path: &PathBuf| {
            let read = |name: &str| std::fs::read(path.join(name)).unwrap_or_default();
            let text = |name: &str| String::from_utf8_lossy(&read(name)).into_owned();
            is_theirs(&text("cgroup")) || text("environ").contains(data) || text("mountinfo").contains(data)
        };
        let describe = |path: PathBuf| {
            let arguments = std::fs::read(path.join("cmdline")).unwrap_or_default();
            format!(
                "{} {}",
                path.display(),
                String::from_utf8_lossy(&arguments).replace('\0', " ")
            )
        };
        let top = Path::new("/sys/fs/cgroup");
        let bases = [top.to_owned()]
            .into_iter()
            .chain(entries(top))
            .map(|hierarchy| hierarchy.join("hostler"));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        Self {
            processes: entries(Path::new("/proc"))
                .filter(process)
                .map(describe)
                .collect(),
            cgroups: bases
                .flat_map(|base| entries(&base))
                .filter(|path| is_theirs(path.to_str().unwrap()))
                .collect(),
            ranges: entries(Path::new("/run/hostler/ranges"))
                .filter(|path| std::fs::read_to_string(path).is_ok_and(|owner| is_theirs(&owner)))
                .collect(),
            loop_devices: entries(Path::new("/sys/block"))
                .filter_map(|path| std::fs::read_to_string(path.join("loop/backing_file")).ok())
                .filter(|file| file.contains(data))
                .collect(),
            mounts: mounts
                .lines()
                .filter(|line| line.contains(data))
                .map(str::to_owned)
                .collect(),
        }
    }
}

pub fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}
