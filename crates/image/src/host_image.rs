//! The `host` image: an allow-listed skeleton, built once per version of this binary and of the machine.
//!
//! Nothing of the host is in it that is not named here: a list of what is taken, never of what is hidden. `/usr` is an
//! empty directory; the sandbox sees the machine's own there.

use crate::tree;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

/// Changes when what is written below changes.
const VERSION: u32 = 1;
/// The agent's user and group inside.
const AGENT: u32 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("building the host image failed at {path}")]
    Build { path: PathBuf, source: io::Error },
}

/// Directories: path, mode, owner.
const DIRECTORIES: [(&str, u32, u32); 26] = [
    (".hostler", 0o755, 0),
    (".hostler/changes", 0o755, 0),
    (".hostler/empty", 0o755, 0),
    (".hostler/runtime", 0o755, 0),
    ("dev", 0o755, 0),
    ("etc", 0o755, 0),
    ("home", 0o755, 0),
    ("home/agent", 0o700, AGENT),
    ("media", 0o755, 0),
    ("mnt", 0o755, 0),
    ("opt", 0o755, 0),
    ("proc", 0o555, 0),
    ("root", 0o700, 0),
    ("run", 0o755, 0),
    ("run/lock", 0o1777, 0),
    ("srv", 0o755, 0),
    ("sys", 0o555, 0),
    ("tmp", 0o1777, 0),
    ("usr", 0o755, 0),
    ("var", 0o755, 0),
    ("var/cache", 0o755, 0),
    ("var/lib", 0o755, 0),
    ("var/log", 0o755, 0),
    ("var/tmp", 0o1777, 0),
    ("var/spool", 0o755, 0),
    ("workspace", 0o755, AGENT),
];

/// Files of this machine's `/etc` that programs need and that tell nothing about its users or secrets.
const TAKEN: [&str; 28] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "inputrc",
    "issue",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mailcap",
    "magic",
    "mime.types",
    "nanorc",
    "os-release",
    "perl",
    "protocols",
    "python3",
    "python3.11",
    "python3.13",
    "rpc",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// Files that are made up.
const WRITTEN: [(&str, &str); 9] = [
    (
        "etc/group",
        "root:x:0:\ntty:x:5:\nagent:x:1000:\nnogroup:x:65534:\n",
    ),
    ("etc/hostname", "sandbox\n"),
    ("etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"),
    ("etc/machine-id", "00000000000000000000000000000000\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    ),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:/home/agent:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    (
        "etc/profile",
        "export PATH=/home/agent/.local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n",
    ),
    (
        "etc/resolv.conf",
        "nameserver 127.0.0.53\noptions timeout:5 attempts:1\n",
    ),
    ("etc/shells", "/bin/sh\n/bin/bash\n"),
];

/// The image on disk.
#[derive(Debug, Clone)]
pub struct HostImage {
    pub root: PathBuf,
}

impl HostImage {
    /// Finds the image with this binary on this machine below `DATA/images/host`, or builds it. Older ones are removed.
    ///
    /// The caller holds the lock of the data directory.
    pub fn ensure(data: &Path, program: &Path) -> Result<Self, ImageError> {
        let directory = data.join("images/host");
        make_directories(&directory)?;
        let key = Self::ensure_in(&directory, program)?;
        remove_others(&directory, &key);
        Ok(Self {
            root: directory.join(key),
        })
    }

    /// Finds the image in a directory that is the caller's alone, or builds it there. Answers its name; others stay.
    pub fn ensure_in(directory: &Path, program: &Path) -> Result<String, ImageError> {
        let key = key(program)?;
        let root = directory.join(&key);
        if !root.is_dir() {
            let unfinished = directory.join(format!("{key}.unfinished"));
            tree::remove(&unfinished).map_err(at(&unfinished))?;
            build(&unfinished, program)?;
            // A power cut must not leave the name of a whole image on files that were never written.
            sync(&unfinished)?;
            fs::rename(&unfinished, &root).map_err(at(&root))?;
        }
        Ok(key)
    }
}

/// Everything that is written to the file system of a directory.
fn sync(directory: &Path) -> Result<(), ImageError> {
    let opened = fs::File::open(directory).map_err(at(directory))?;
    rustix::fs::syncfs(&opened).map_err(|errno| at(directory)(errno.into()))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ImageError + '_ {
    move |source| ImageError::Build {
        path: path.to_owned(),
        source,
    }
}

fn make_directories(path: &Path) -> Result<(), ImageError> {
    fs::create_dir_all(path).map_err(at(path))
}

/// Names the image by what it is made of.
fn key(program: &Path) -> Result<String, ImageError> {
    let stamp =
        |path: &Path| fs::metadata(path).map(|found| (found.len(), found.mtime(), found.mtime_nsec()));
    let (bytes, seconds, nanos) = stamp(program).map_err(at(program))?;
    let libraries = stamp(Path::new("/etc/ld.so.cache")).map_or(0, |(_, seconds, _)| seconds);
    Ok(format!("{VERSION}-{bytes:x}-{seconds:x}-{nanos:x}-{libraries:x}"))
}

/// Images of other versions; one that is still seen by a sandbox lives on through its mount.
fn remove_others(directory: &Path, key: &str) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten().filter(|entry| entry.file_name() != key) {
        tree::remove(&entry.path()).ok();
    }
}

fn build(root: &Path, program: &Path) -> Result<(), ImageError> {
    make_directories(root)?;
    for (path, mode, owner) in DIRECTORIES {
        let path = root.join(path);
        make_directories(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at(&path))?;
        if owner != 0 {
            // Only root can give directories away; where there is one user, they are the agent's already.
            chown(&path, Some(owner), Some(owner)).ok();
        }
    }
    for name in TAKEN {
        let (from, to) = (Path::new("/etc").join(name), root.join("etc").join(name));
        tree::copy(&from, &to).map_err(at(&from))?;
    }
    for (path, text) in WRITTEN {
        let path = root.join(path);
        fs::write(&path, text).map_err(at(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(at(&path))?;
    }
    let mounts = root.join("etc/mtab");
    symlink("/proc/self/mounts", &mounts).map_err(at(&mounts))?;
    link_libraries(root)?;
    let agent = root.join(".hostler/hostler-agent");
    fs::copy(program, &agent).map_err(at(&agent))?;
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).map_err(at(&agent))
}

/// `/bin`, `/lib` and their kin, where the machine has them as links into `/usr`.
fn link_libraries(root: &Path) -> Result<(), ImageError> {
    for name in ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] {
        let from = Path::new("/").join(name);
        if let Ok(target) = fs::read_link(&from) {
            let to = root.join(name);
            symlink(target, &to).map_err(at(&to))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_built_once_and_holds_nothing_unnamed() {
        let data = tempfile::tempdir().unwrap();
        let image = HostImage::ensure(data.path(), Path::new("/bin/true")).unwrap();
        let again = HostImage::ensure(data.path(), Path::new("/bin/true")).unwrap();
        assert_eq!(image.root, again.root);
        assert!(
            fs::read_to_string(image.root.join("etc/passwd"))
                .unwrap()
                .contains("agent")
        );
        for absent in [
            "etc/shadow",
            "etc/ssh",
            "etc/ssl/private",
            "etc/hostler",
            "etc/sudoers",
            "usr/bin",
        ] {
            assert!(!image.root.join(absent).exists(), "{absent}");
        }
    }

    #[test]
    fn a_build_that_was_cut_off_is_done_again() {
        let data = tempfile::tempdir().unwrap();
        let image = HostImage::ensure(data.path(), Path::new("/bin/true")).unwrap();
        let unfinished = image.root.with_extension("unfinished");
        fs::rename(&image.root, &unfinished).unwrap();
        assert!(
            HostImage::ensure(data.path(), Path::new("/bin/true"))
                .unwrap()
                .root
                .is_dir()
        );
        assert!(!unfinished.exists());
    }
}
