//! What a request may say. The server is trusted with its sandboxes, not with paths or names of the jailer's choosing.

use crate::error::{During as _, StepError};
use crate::protocol::{Hello, Spec};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::{Component, Path};

const MOST_ID_BYTES: usize = 64;
const MOST_EGRESS_PORTS: usize = 2;
const MOST_POOL: u32 = 256;
/// Enough for two thousand sandboxes.
const DESCRIPTORS: u64 = 65_536;

/// Ids become names of directories and are shown in errors.
pub fn check_id(id: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if id.is_empty() || id.len() > MOST_ID_BYTES || !id.bytes().all(plain) {
        return Err(format!("an id has 1 to {MOST_ID_BYTES} of a-z, 0-9 and _"));
    }
    Ok(())
}

/// Versions become names of directories, too.
fn check_version(version: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    if version.is_empty()
        || version.len() > MOST_ID_BYTES
        || version.starts_with('.')
        || !version.bytes().all(plain)
    {
        return Err(format!(
            "a version has 1 to {MOST_ID_BYTES} of a-z, A-Z, 0-9, ., - and +, and does not begin with a dot"
        ));
    }
    Ok(())
}

pub fn check_spec(spec: &Spec) -> Result<(), String> {
    check_id(&spec.id)?;
    // Shells are called so until they have a sandbox's name.
    if spec.id.starts_with(crate::shells::PREFIX) {
        return Err(format!(
            "an id that begins with {} is not a sandbox's",
            crate::shells::PREFIX
        ));
    }
    spec.files_from.as_deref().map_or(Ok(()), check_id)?;
    if let Some(runtime) = &spec.runtime {
        check_id(&runtime.name)?;
        check_version(&runtime.version)?;
    }
    if let Some(workspace) = &spec.workspace {
        for path in workspace.masked.iter().chain([&workspace.path]) {
            if !is_plain(path) {
                return Err(format!(
                    "{} is not an absolute path without . and ..",
                    path.display()
                ));
            }
        }
        if workspace.path.parent().is_none() {
            return Err("the root directory cannot be a workspace".to_owned());
        }
    }
    if spec.egress_ports.len() > MOST_EGRESS_PORTS {
        return Err(format!("at most {MOST_EGRESS_PORTS} egress ports"));
    }
    if spec
        .egress_ports
        .iter()
        .any(|port| matches!(port, 0 | 53 | 80 | 443 | 3128))
    {
        return Err("an egress port is one that the sandbox has already".to_owned());
    }
    Ok(())
}

pub fn check_hello(hello: &Hello) -> Result<(), StepError> {
    let wrong = |what: &str| {
        Err(std::io::Error::from(std::io::ErrorKind::InvalidInput))
            .during("read greeting", || what.to_owned())
    };
    if check_id(&hello.instance).is_err() {
        return wrong("instance");
    }
    if !is_plain(&hello.data) || !is_plain(&hello.image) {
        return wrong("paths must be absolute");
    }
    check_pool(hello)
}

pub fn check_pool(hello: &Hello) -> Result<(), StepError> {
    if hello.shells.max(hello.disks) > MOST_POOL {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput))
            .during("read greeting", || format!("a pool of over {MOST_POOL}"));
    }
    Ok(())
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// What this process is to be like, whoever started it: modes of files as they are asked for, and as many descriptors as
/// it may have, for each sandbox needs up to nine.
pub fn prepare_process() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    raise_descriptor_limit();
}

/// Whoever holds many sandboxes holds several descriptors of each. Root takes more than it was given.
pub fn raise_descriptor_limit() {
    let now = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= DESCRIPTORS);
    if enough(now.current) {
        return;
    }
    let limits = |maximum: Option<u64>| Rlimit {
        current: Some(maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS))),
        maximum,
    };
    let wanted = if enough(now.maximum) {
        now.maximum
    } else {
        Some(DESCRIPTORS)
    };
    if setrlimit(Resource::Nofile, limits(wanted)).is_err() {
        // With fewer, creating fails later and says so.
        setrlimit(Resource::Nofile, limits(now.maximum)).ok();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::{Limits, Runtime, Workspace};

    fn spec(id: &str, path: &str, ports: &[u16]) -> Spec {
        Spec {
            id: id.to_owned(),
            limits: Limits {
                cpu_millis: 1000,
                memory_bytes: 1 << 30,
                disk_bytes: 1 << 30,
                pids: 100,
            },
            workspace: Some(Workspace {
                path: path.into(),
                masked: Vec::new(),
            }),
            egress_ports: ports.to_vec(),
            files_from: None,
            runtime: None,
        }
    }

    #[test]
    fn as_many_descriptors_are_taken_as_there_may_be() {
        raise_descriptor_limit();
        let now = getrlimit(Resource::Nofile);
        let all = now
            .maximum
            .map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
        assert!(now.current.is_none_or(|current| current >= all), "{now:?}");
    }

    #[test]
    fn ids_and_paths_that_lead_elsewhere_are_refused() {
        assert_eq!(check_spec(&spec("sbx_1", "/home/me/project", &[5432])), Ok(()));
        let runtime = |name: &str, version: &str| Spec {
            runtime: Some(Runtime {
                name: name.to_owned(),
                version: version.to_owned(),
            }),
            ..spec("sbx_1", "/home/me/project", &[])
        };
        assert_eq!(check_spec(&runtime("claude", "2.1.330-beta.1+x")), Ok(()));
        let wrong = [
            spec("../x", "/w", &[]),
            spec("", "/w", &[]),
            spec("shell_1", "/w", &[]),
            Spec {
                files_from: Some("../sbx_2".to_owned()),
                ..spec("sbx_1", "/w", &[])
            },
            runtime("..", "2.1.0"),
            runtime("claude", "../../etc"),
            runtime("claude", ".."),
            runtime("claude", ""),
            spec("sbx_1", "relative", &[]),
            spec("sbx_1", "/w/../etc", &[]),
            spec("sbx_1", "/", &[]),
            spec("sbx_1", "/w", &[443]),
            spec("sbx_1", "/w", &[1000, 1001, 1002]),
        ];
        for spec in wrong {
            assert!(check_spec(&spec).is_err(), "{spec:?}");
        }
    }
}
