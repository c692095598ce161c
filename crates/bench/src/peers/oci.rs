//! crun and runc: the same bundle for both, with all namespaces, the default limits and a read-only root.

use super::shell::Shell;
use super::{attempt, find, time};
use crate::candidate::Candidate;
use crate::failure::Failure;
use crate::sandboxes::{COMMAND, FIRST_COMMAND};
use crate::stack::one;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bundle and the runtime's own state; both go with it.
struct Bundle {
    directory: tempfile::TempDir,
    program: PathBuf,
    runs: AtomicU64,
}

/// Nothing where it is not installed.
pub(super) async fn runtime(name: &'static str) -> Result<Option<Candidate>, Failure> {
    let Some(program) = find(name) else {
        return Ok(None);
    };
    let bundle = Bundle::make(program.clone()).map_err(|source| Failure::Run {
        program: program.display().to_string(),
        source,
    })?;
    let bundle = Arc::new(bundle);
    let Err(failure) = attempt(&program, &bundle.arguments(&bundle.id())).await else {
        return Ok(Some(direct(name, bundle)));
    };
    // crun refuses machines with both kinds of cgroups; where the second is hidden from it, it works.
    if !Path::new("/sys/fs/cgroup/unified").exists() || !rustix::process::geteuid().is_root() {
        return Err(failure);
    }
    let shell = Arc::new(Shell::without_unified(&program, &bundle.arguments("\"$id\""))?);
    shell.run(&bundle.id()).await?;
    Ok(Some(one(name, FIRST_COMMAND, move || {
        let (shell, bundle) = (Arc::clone(&shell), Arc::clone(&bundle));
        async move { shell.run(&bundle.id()).await }
    })))
}

fn direct(name: &'static str, bundle: Arc<Bundle>) -> Candidate {
    one(name, FIRST_COMMAND, move || {
        let bundle = Arc::clone(&bundle);
        async move { time(&bundle.program, &bundle.arguments(&bundle.id())).await }
    })
}

impl Bundle {
    fn make(program: PathBuf) -> std::io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("hostler-bench-").tempdir()?;
        let root = directory.path().join("rootfs");
        for name in ["usr", "proc", "dev"] {
            std::fs::create_dir_all(root.join(name))?;
        }
        for name in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.join(name))?;
        }
        let user = rustix::process::geteuid();
        let config = config(user.is_root(), user.as_raw(), rustix::process::getegid().as_raw());
        std::fs::write(directory.path().join("config.json"), config.to_string())?;
        Ok(Self {
            directory,
            program,
            runs: AtomicU64::new(0),
        })
    }

    /// No two runs have the same.
    fn id(&self) -> String {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        format!("hostler-bench-{}-{run}", std::process::id())
    }

    fn arguments(&self, id: &str) -> Vec<String> {
        let directory = self.directory.path().display();
        vec![
            "--root".to_owned(),
            format!("{directory}/state"),
            "run".to_owned(),
            "--bundle".to_owned(),
            directory.to_string(),
            id.to_owned(),
        ]
    }
}

/// As root the default limits of our sandboxes; an ordinary user has no cgroup to put them in.
fn config(as_root: bool, user: u32, group: u32) -> Value {
    let map = |id| {
        if as_root {
            json!([{"containerID": 0, "hostID": 0, "size": 65536}])
        } else {
            json!([{"containerID": 0, "hostID": id, "size": 1}])
        }
    };
    let namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount", "network", "cgroup", "user"]
        .iter()
        .filter(|kind| as_root || **kind != "cgroup")
        .map(|kind| json!({"type": kind}))
        .collect();
    let mut linux = json!({"uidMappings": map(user), "gidMappings": map(group), "namespaces": namespaces});
    if as_root {
        linux["resources"] = json!({
            "memory": {"limit": 1 << 30},
            "pids": {"limit": 512},
            "cpu": {"quota": 100_000, "period": 100_000},
        });
    }
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": [COMMAND],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "bench",
        "mounts": [
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "nosuid"]},
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_maps_itself_and_sets_no_limit() {
        let root = config(true, 0, 0);
        assert_eq!(root["linux"]["resources"]["pids"]["limit"], 512);
        assert_eq!(root["linux"]["namespaces"].as_array().map(Vec::len), Some(7));
        let user = config(false, 1000, 1001);
        assert_eq!(user["linux"]["resources"], Value::Null);
        assert_eq!(user["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(user["linux"]["gidMappings"][0]["hostID"], 1001);
    }

    #[test]
    fn each_run_has_an_id_of_its_own() {
        let bundle = Bundle::make("/bin/true".into()).unwrap();
        assert_ne!(bundle.id(), bundle.id());
        assert_eq!(bundle.arguments("x").last().map(String::as_str), Some("x"));
    }
}
