//! P41 to P48: file requests of the host, and what an agent leaves for the host to apply.

use crate::place::Machine;
use crate::product::{Product, Ran};
use bytes::Bytes;
use domain::Limits;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const EVERYTHING: [&str; 3] = ["--apply-git", "--apply-symlinks", "--apply-executables"];
const SECRET: &str = "only the host may know this";

/// A directory of the host beside the workspace, with a file that no agent may see or change.
struct Outside {
    directory: tempfile::TempDir,
}

impl Outside {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), SECRET).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self) -> String {
        self.path().join("file").to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn is_untouched(&self) {
        let names: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["file"]);
        assert_eq!(fs::read_to_string(self.file()).unwrap(), SECRET);
    }
}

#[tokio::test]
async fn a_symlink_leads_no_file_request_out() {
    let machine = Machine::start().await;
    let outside = Outside::new();
    let workspace = tempfile::tempdir().unwrap();
    // One that was there before, and others that the agent makes.
    symlink(outside.path(), workspace.path().join("given")).unwrap();
    let place = machine.sandbox_with(Limits::default(), workspace).await;
    let path = outside.path().display();
    let made = place
        .sh(&format!(
            "cd /workspace && ln -s {path} direct && ln -s ../../../../../../{path} upward && \
             ln -s /proc/1/root/{path} process && ln -s /proc/self/cwd/../{path} magic && ln -s loop loop && \
             echo inside > kept && ln -s kept good"
        ))
        .await;
    assert!(made.succeeded(), "{made:?}");
    assert_eq!(
        place.client.read_file("/workspace/good", 0, 100).await.unwrap(),
        "inside\n"
    );
    for link in ["given", "direct", "upward", "process", "magic", "loop"] {
        let (directory, file) = (format!("/workspace/{link}"), format!("/workspace/{link}/file"));
        let read = place.client.read_file(&file, 0, 100).await;
        assert!(read.is_err(), "{link}: {read:?}");
        let listed = place.client.list(&directory).await;
        assert!(listed.is_err(), "{link}: {listed:?}");
        let written = place.client.write_file(&file, 0o644, Bytes::from("evil")).await;
        assert!(written.is_err(), "{link}: {written:?}");
        assert!(place.client.delete_file(&file).await.is_err(), "{link}");
    }
    for path in ["/etc/passwd", "/usr/bin/true", "/.hostler/hostler-agent"] {
        let name = format!("/workspace/to{}", path.replace('/', "-"));
        assert!(place.sh(&format!("ln -s {path} {name}")).await.succeeded());
        // A write replaces the link, or is refused; it does not go through.
        place
            .client
            .write_file(&name, 0o644, Bytes::from("evil"))
            .await
            .ok();
        assert!(
            !place.sh(&format!("grep -q ^evil {path}")).await.succeeded(),
            "{path}"
        );
    }
    outside.is_untouched();
}

#[tokio::test]
async fn a_hard_link_leads_nowhere() {
    let machine = Machine::start().await;
    let outside = Outside::new();
    let workspace = tempfile::tempdir_in(outside.path().parent().unwrap()).unwrap();
    fs::hard_link(outside.file(), workspace.path().join("shared")).unwrap();
    let place = machine.sandbox_with(Limits::default(), workspace).await;
    let written = place
        .sh("cd /workspace && ln shared again && echo more >> again && echo evil > shared && rm again && chmod 0666 shared && cat shared")
        .await;
    assert_eq!(written.text, "evil\n", "{written:?}");
    let across = place
        .sh("for f in /usr/bin/true /etc/passwd /proc/self/status /.hostler/hostler-agent /dev/null; do \
             for d in /workspace /tmp /home/agent /dev/shm; do ln $f $d/link 2>/dev/null && echo $f $d; done; done; true")
        .await;
    assert_eq!(across.text, "");
    outside.is_untouched();
    assert_eq!(fs::metadata(outside.file()).unwrap().nlink(), 2);
}

/// The session that a run had.
fn session(ran: &Ran) -> String {
    ran.object["session_id"].as_str().unwrap().to_owned()
}

/// What a run says of each path.
fn changes(ran: &Ran) -> BTreeMap<String, Value> {
    let list = ran.object["changes"].as_array().unwrap().iter();
    list.map(|change| (change["path"].as_str().unwrap().to_owned(), change.clone()))
        .collect()
}

async fn apply(product: &Product, ran: &Ran, flags: &[&str]) -> (Option<i32>, String) {
    let id = session(ran);
    let mut words = vec!["sessions", "apply", &id];
    words.extend(flags);
    product.hostler(&words).await
}

#[tokio::test]
async fn applying_follows_no_symlink() {
    let (product, outside) = (Product::new(), Outside::new());
    let workspace = product.workspace.path();
    fs::create_dir(workspace.join("d")).unwrap();
    fs::write(workspace.join("d/file"), "old\n").unwrap();
    symlink(outside.path(), workspace.join("link")).unwrap();
    // The agent's own link, over a directory: it writes behind it in its own view, where that leads nowhere.
    let command = format!(
        "cd /workspace && echo evil > d/file && echo evil > d/new && mkdir deep && ln -s {0} deep/out && \
         rm link && mkdir link && echo evil > link/file",
        outside.path().display()
    );
    let ran = product.sh(&command, &[]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");

    // The host's own program swaps the directory for a link and back, all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (stop, workspace, target) = (Arc::clone(&stop), workspace.to_owned(), outside.path().to_owned());
        std::thread::spawn(move || {
            let mut swaps = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let (d, away) = (workspace.join("d"), workspace.join("away"));
                fs::rename(&d, &away).unwrap();
                symlink(&target, &d).unwrap();
                fs::remove_file(&d).unwrap();
                fs::rename(&away, &d).unwrap();
                swaps += 1;
            }
            swaps
        })
    };
    for _ in 0..5 {
        apply(&product, &ran, &EVERYTHING).await;
        outside.is_untouched();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(swapping.join().unwrap() > 100);
    // In peace it is applied, and nothing of it went through a link either.
    apply(&product, &ran, &EVERYTHING).await;
    outside.is_untouched();
    assert_eq!(fs::read_to_string(workspace.join("d/new")).unwrap(), "evil\n");
    assert!(workspace.join("link").symlink_metadata().unwrap().is_dir());
}

#[tokio::test]
async fn applying_does_not_write_through_a_hard_link() {
    let (product, outside) = (Product::new(), Outside::new());
    let file = product.workspace.path().join("shared");
    fs::hard_link(outside.file(), &file).unwrap();
    let ran = product
        .sh(
            "echo evil > /workspace/shared; chmod 0777 /workspace/shared",
            &["--apply", "--apply-executables"],
        )
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "evil\n");
    outside.is_untouched();
    assert_eq!(fs::metadata(outside.file()).unwrap().mode() & 0o111, 0);
}

/// What overlay keeps in attributes decides where a name leads: none of it may come from an agent.
const LEAVING: &str = r"
import os, errno
os.chdir('/workspace')
for name in (b'\xff\xfe', b'a\nb', b'...', b'..x', b'-rf', b'\x1b]0;evil\x07', b'~', b'$(touch evil)', b'x' * 255):
    open(name, 'w').write('kept')
os.symlink('..', 'up')
try: open('up/escaped', 'w').write('evil')
except OSError as error: print('up', errno.errorcode[error.errno])
os.mkdir('moved')
for target in ('moved', b'...'):
    for name in ('redirect', 'opaque', 'origin', 'metacopy', 'whiteout', 'whiteouts', 'upper'):
        for space in ('user.overlay', 'trusted.overlay', 'user.overlay.overlay'):
            try: os.setxattr(target, f'{space}.{name}', b'/../../../../tmp')
            except OSError: pass
open('moved/file', 'w').write('kept')
path = '.'
for _ in range(40):
    path += '/' + 'd' * 120
    os.mkdir('d' * 120)
    os.chdir('d' * 120)
open('deep', 'w').write('kept')
print('done')
";

#[tokio::test]
async fn applying_refuses_paths_that_leave() {
    let (mut product, base) = (Product::new(), tempfile::tempdir().unwrap());
    product.workspace = tempfile::tempdir_in(base.path()).unwrap();
    let above = |directory: &Path| {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = above(base.path());
    let ran = product.python(LEAVING, &[]).await;
    assert!(
        ran.said().contains("up EACCES") && ran.said().contains("done"),
        "{ran:?}"
    );
    let (code, text) = apply(&product, &ran, &EVERYTHING).await;
    // Either all of it fits below the workspace, or nothing is applied.
    assert!(matches!(code, Some(0 | 1)), "{text}");
    assert_eq!(above(base.path()), before);
    let applied = above(product.workspace.path());
    assert!(
        !applied.iter().any(|name| name == "escaped" || name == "evil"),
        "{applied:?}"
    );
    if code == Some(0) {
        assert_eq!(
            fs::read_to_string(product.workspace.path().join("moved/file")).unwrap(),
            "kept"
        );
        assert_eq!(
            fs::read_to_string(product.workspace.path().join("...")).unwrap(),
            "kept"
        );
    }
    assert!(!text.contains("\u{1b}]0;evil"), "{text:?}");
}

#[tokio::test]
async fn what_could_run_on_the_host_is_held_back() {
    let product = Product::new();
    let workspace = product.workspace.path();
    fs::create_dir_all(workspace.join(".git/hooks")).unwrap();
    fs::write(workspace.join(".git/config"), "[core]\n").unwrap();
    fs::write(workspace.join("plain"), "old\n").unwrap();
    let command = "cd /workspace && echo new > plain && echo evil > .git/hooks/post-checkout && echo evil >> .git/config && \
                   mkdir -p sub/.GIT && echo evil > sub/.GIT/config && ln -s /etc/passwd link && \
                   printf '#!/bin/sh\\n' > run.sh && chmod +x run.sh plain";
    let ran = product.sh(command, &["--apply"]).await;
    let said = changes(&ran);
    let held = [
        (".git/hooks/post-checkout", "git"),
        (".git/config", "git"),
        ("sub/.GIT/config", "git"),
        ("link", "symlinks"),
        ("run.sh", "executables"),
        ("plain", "executables"),
    ];
    for (path, class) in held {
        let change = &said[path];
        assert_eq!(change["applied"], false, "{path}: {said:?}");
        assert!(change["needs"].to_string().contains(class), "{path}: {change}");
    }
    assert!(!workspace.join("run.sh").exists() && !workspace.join(".git/hooks/post-checkout").exists());
    assert!(workspace.join("link").symlink_metadata().is_err());
    assert_eq!(
        fs::read_to_string(workspace.join(".git/config")).unwrap(),
        "[core]\n"
    );
    assert_eq!(fs::read_to_string(workspace.join("plain")).unwrap(), "old\n");
    // Each flag lets its own class through, and no other.
    let there = |path: &str| workspace.join(path).symlink_metadata().is_ok();
    let (code, text) = apply(&product, &ran, &["--apply-executables"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(there("run.sh") && !there("link") && !there(".git/hooks/post-checkout"));
    let (code, text) = apply(&product, &ran, &["--apply-symlinks"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(there("link") && !there(".git/hooks/post-checkout"));
    let (code, text) = apply(&product, &ran, &["--apply-git"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(there(".git/hooks/post-checkout"));
}

#[tokio::test]
async fn special_files_are_never_applied() {
    let product = Product::new();
    let program = r"
import os, socket, stat
os.chdir('/workspace')
os.mkfifo('fifo')
socket.socket(socket.AF_UNIX).bind('socket')
for name, mode in (('null', stat.S_IFCHR), ('disk', stat.S_IFBLK), ('hole', stat.S_IFCHR)):
    try: os.mknod(name, mode | 0o666, 0 if name == 'hole' else os.makedev(1, 3))
    except OSError as error: print(name, error.strerror)
for name, mode in (('setuid', 0o4755), ('setgid', 0o2755), ('sticky', 0o1644)):
    open(name, 'w').write('x')
    os.chmod(name, mode)
os.mkdir('directory')
os.chmod('directory', 0o6777)
print('done')
";
    let ran = product
        .python(
            program,
            &[
                "--apply",
                "--apply-git",
                "--apply-symlinks",
                "--apply-executables",
            ],
        )
        .await;
    assert!(ran.said().contains("done"), "{ran:?}");
    let said = changes(&ran);
    for path in ["fifo", "socket"] {
        assert_eq!(said[path]["special"], true, "{said:?}");
        assert_eq!(said[path]["applied"], false, "{said:?}");
    }
    let mut seen = 0;
    for entry in fs::read_dir(product.workspace.path()).unwrap() {
        let entry = entry.unwrap();
        let (kind, mode) = (entry.file_type().unwrap(), entry.metadata().unwrap().mode());
        let special = kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device();
        assert!(!special && mode & 0o7000 == 0, "{entry:?} {mode:o}");
        seen += 1;
    }
    assert_eq!(seen, 4, "the three files and the directory, without their bits");
}

#[tokio::test]
async fn what_the_user_changed_is_not_overwritten() {
    let product = Product::new();
    let workspace = product.workspace.path();
    for name in ["both", "agents", "gone"] {
        fs::write(workspace.join(name), "old\n").unwrap();
    }
    let ran = product
        .sh("cd /workspace && echo agent | tee both agents gone > new", &[])
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let old = |name: &str| fs::read_to_string(workspace.join(name)).unwrap();
    // A change of the same length, a removal, and a file that appears where the agent made one.
    let users: [(&str, &dyn Fn()); 3] = [
        ("both", &|| fs::write(workspace.join("both"), "usr\n").unwrap()),
        ("gone", &|| fs::remove_file(workspace.join("gone")).unwrap()),
        ("new", &|| fs::write(workspace.join("new"), "users\n").unwrap()),
    ];
    for (name, change) in users {
        change();
        let (code, text) = apply(&product, &ran, &EVERYTHING).await;
        assert_eq!(code, Some(1), "{name}: {text}");
        assert!(text.contains(name), "{name}: {text}");
        assert_eq!(old("agents"), "old\n", "{name}: nothing else is applied either");
    }
    assert_eq!((old("both").as_str(), old("new").as_str()), ("usr\n", "users\n"));
    assert!(!workspace.join("gone").exists());
    // What the user takes back is no hindrance.
    fs::write(workspace.join("both"), "agent\n").unwrap();
    fs::write(workspace.join("gone"), "agent\n").unwrap();
    fs::write(workspace.join("new"), "agent\n").unwrap();
    let (code, text) = apply(&product, &ran, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(old("agents"), "agent\n");
}
