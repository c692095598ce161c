//! What a server that gave up root can still do, attacked by a program that it became.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use sandbox_linux::{PrivilegeError, hand_over, server_user};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn skip(test: &str) {
    println!("SKIP {test}: only root can be given up");
}

/// Tries to be root again, each way in a process of its own.
const BACK: &str = r"
import ctypes, os, subprocess
def say(name, action):
    try:
        print(name, action())
    except OSError as error:
        print(name, 'refused')
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
    return 'done'
for name, arguments in [('setuid', (0,)), ('setgid', (0,)), ('setresuid', (0, 0, 0)), ('setgroups', (0, None)),
                        ('chroot', (b'/',)), ('mount', (b'none', b'/mnt', b'tmpfs', 0, None))]:
    say(name, lambda: call(name, *arguments))
say('shadow', lambda: open('/etc/shadow').read())
say('kill', lambda: os.kill(1, 0))
say('sudo', lambda: subprocess.run(['/tmp-su', '-c', 'id -u'], check=True))
for line in open('/proc/self/status'):
    if line.startswith(('Uid', 'Gid', 'Groups', 'Cap', 'NoNewPrivs')):
        print(line.strip().replace('\t', ' '))
";

fn without_root(data: &Path, words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_without-root"))
        .arg(data)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn root_that_was_given_up_does_not_come_back() {
    if !is_root() {
        return skip("root_that_was_given_up_does_not_come_back");
    }
    let data = tempfile::tempdir().unwrap();
    // A set-uid shell: with no_new_privs it gives nothing.
    let shell = data.path().join("shell");
    std::fs::copy("/bin/sh", &shell).unwrap();
    std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o4755)).unwrap();
    // Two names, so that it stays root's when the directory is handed over.
    std::fs::hard_link(&shell, data.path().join("shell2")).unwrap();
    assert_eq!(std::fs::metadata(&shell).unwrap().uid(), 0);

    let program = BACK.replace("/tmp-su", shell.to_str().unwrap());
    let (succeeded, said) = without_root(data.path(), &["/usr/bin/python3", "-c", &program]);
    assert!(succeeded, "{said}");
    let user = server_user();
    assert_ne!(user.uid, 0);
    for name in [
        "setuid",
        "setgid",
        "setresuid",
        "setgroups",
        "chroot",
        "mount",
        "shadow",
        "kill",
    ] {
        assert!(said.contains(&format!("{name} refused")), "{name}: {said}");
    }
    // Whatever the set-uid shell says, it is not that it is root.
    assert!(!said.lines().any(|line| line == "0"), "{said}");
    let id = |number: u32| format!(" {number} {number} {number} {number}");
    assert!(said.contains(&format!("Uid:{}", id(user.uid))), "{said}");
    assert!(said.contains(&format!("Gid:{}", id(user.gid))), "{said}");
    assert!(said.lines().any(|line| line.trim() == "Groups:"), "{said}");
    let sets = said.lines().filter(|line| line.starts_with("Cap"));
    let empty = sets.clone().filter(|line| line.ends_with(" 0000000000000000"));
    assert_eq!((sets.count(), empty.count()), (5, 5), "{said}");
    assert!(said.contains("NoNewPrivs: 1"), "{said}");
}

#[test]
fn a_data_directory_is_handed_over_once_and_without_what_is_the_jailers() {
    if !is_root() {
        return skip("a_data_directory_is_handed_over_once_and_without_what_is_the_jailers");
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = place.path().join("data");
    let elsewhere = place.path().join("elsewhere");
    std::fs::write(&elsewhere, "root's").unwrap();
    for directory in ["blobs/ab", "sandboxes/sbx_1", "disks", "images/host"] {
        std::fs::create_dir_all(data.join(directory)).unwrap();
    }
    for file in ["state.db", "blobs/ab/cd", "disks/1.spare"] {
        std::fs::write(data.join(file), "").unwrap();
    }
    std::fs::hard_link(&elsewhere, data.join("second-name")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, data.join("link")).unwrap();
    let user = server_user();
    hand_over(&data, user).unwrap();
    let owner = |path: &str| std::fs::symlink_metadata(data.join(path)).unwrap().uid();
    for path in ["", "state.db", "blobs", "blobs/ab", "blobs/ab/cd"] {
        assert_eq!(owner(path), user.uid, "{path}");
    }
    for path in [
        "sandboxes",
        "sandboxes/sbx_1",
        "disks",
        "disks/1.spare",
        "images",
        "second-name",
    ] {
        assert_eq!(owner(path), 0, "{path}");
    }
    assert_eq!(std::fs::metadata(&elsewhere).unwrap().uid(), 0);

    // From now on it is that user's to fill, and nothing in it is given away.
    std::fs::write(data.join("later"), "").unwrap();
    hand_over(&data, user).unwrap();
    assert_eq!(owner("later"), 0);
    chown(&data, Some(12345), None).unwrap();
    assert!(matches!(
        hand_over(&data, user),
        Err(PrivilegeError::Foreign { owner: 12345, .. })
    ));
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(
        hand_over(&data, user),
        Err(PrivilegeError::Unreachable { .. })
    ));
}
