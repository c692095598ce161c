//! The service form of the jailer, attacked by other users of the machine and by the server that it serves.

use crate::left::Left;
use crate::service_place::{Place, is_root, skip, until};
use sandbox::{Backend as _, Spec};
use sandbox_linux::{LinuxBackend, User};
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The server's user, and another one.
const SERVER: User = User {
    uid: 1_073_741_823,
    gid: 1_073_741_823,
};
const OTHER: u32 = 12_345;

/// Says each of the messages that standard input holds to a jailer, and what it answers.
const CLIENT: &str = r"
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(30)
s.connect(sys.argv[1])
for line in sys.stdin:
    s.send(line.strip().encode())
    answer, descriptors, flags, address = socket.recv_fds(s, 1 << 16, 16)
    if not answer:
        raise EOFError('closed')
    print(answer.decode(), flush=True)
";

/// Runs a program as another user of this machine: as root any, as an ordinary user one of its subordinate ones.
fn as_user(uid: u32) -> Command {
    let uid = uid.to_string();
    let words: &[&str] = if is_root() {
        &["setpriv"]
    } else {
        &["unshare", "--user", "--map-auto", "--map-root-user", "setpriv"]
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
    command
}

/// What a jailer answers to a user of this machine who says these messages; an error where it does not.
fn said_by(uid: u32, socket: &Path, messages: &[Value]) -> Result<Vec<Value>, String> {
    let mut child = as_user(uid)
        .args(["/usr/bin/python3", "-c", CLIENT])
        .arg(socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for message in messages {
        // One that is refused does not read to the end.
        writeln!(stdin, "{message}").ok();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect())
}

fn hello() -> Value {
    let limits = limits();
    json!({"version": 2, "instance": "inst", "data": "/etc", "image": "/", "shells": 0, "disks": 0, "limits": limits})
}

fn limits() -> Value {
    json!({"cpu_millis": 1000, "memory_bytes": 1 << 30, "disk_bytes": 1 << 30, "pids": 100})
}

fn create(number: u64, id: &str, workspace: &Path) -> Value {
    let workspace = json!({"path": workspace, "masked": []});
    json!({"number": number, "body": {"create": {"id": id, "limits": limits(), "workspace": workspace, "egress_ports": []}}})
}

#[tokio::test]
async fn another_user_cannot_talk_to_the_jailer() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await;
    let data = place.path();
    let (door, guest) = (
        data.join("jailer.sock"),
        data.join("sandboxes")
            .join(sandbox.id.as_str())
            .join("guest.sock"),
    );
    let other = if is_root() { OTHER } else { 7 };
    if !as_user(other)
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        return skip(
            "another_user_cannot_talk_to_the_jailer",
            "this user has no subordinate users to be another one with",
        );
    }
    for socket in [&door, &guest] {
        let refused = said_by(other, socket, &[hello()]).unwrap_err();
        assert!(refused.contains("PermissionError"), "{refused}");
    }
    // And where every mode is wide open: the jailer looks at who it is.
    for (path, mode) in [(&data, 0o755), (&door, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let refused = said_by(other, &door, &[hello()]).unwrap_err();
    assert!(
        refused.contains("EOFError") || refused.contains("BrokenPipe") || refused.contains("ConnectionReset"),
        "{refused}"
    );
    // Nobody has taken over.
    assert!(backend.observe(&sandbox.id).await.unwrap().alive);
    let own = if is_root() { 0 } else { return };
    assert_eq!(
        said_by(own, &door, &[hello()]).unwrap()[0]["refused"],
        Value::Null
    );
}

/// A jailer for [`SERVER`], whose data directory it is.
async fn service_for_the_server() -> Place {
    let place = Place::new();
    for path in [place.data.path(), place.workspace.path()] {
        chown(path, Some(SERVER.uid), Some(SERVER.gid)).unwrap();
    }
    let options = place.options();
    tokio::task::spawn_blocking(move || LinuxBackend::start_jailer(&options, SERVER))
        .await
        .unwrap()
        .unwrap();
    place
}

#[tokio::test]
async fn a_server_cannot_have_the_jailer_show_it_files_of_the_host() {
    if !is_root() {
        return skip(
            "a_server_cannot_have_the_jailer_show_it_files_of_the_host",
            "an ordinary user's jailer may do no more than its server",
        );
    }
    let place = service_for_the_server().await;
    let (data, workspace) = (place.path(), place.workspace.path().canonicalize().unwrap());
    let secrets = tempfile::tempdir().unwrap();
    let secrets = secrets.path().canonicalize().unwrap();
    std::fs::write(secrets.join("secret"), "of the host").unwrap();
    symlink(&secrets, data.join("link")).unwrap();
    std::fs::write(workspace.join("secret"), "of the host").unwrap();
    std::fs::set_permissions(workspace.join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(workspace.join("own"), "of the server").unwrap();
    chown(workspace.join("own"), Some(SERVER.uid), Some(SERVER.gid)).unwrap();

    let attacks = [
        hello(),
        create(1, "sbx_1", &secrets),
        create(2, "sbx_2", Path::new("/etc")),
        create(3, "sbx_3", &data.join("link")),
        create(4, "sbx_4", &data.join("sandboxes")),
        create(5, "sbx_5", &data.join("images/../sandboxes")),
        create(6, "../link/x", &workspace),
        json!({"number": 7, "body": {"remove_files": {"id": "../link/secret"}}}),
        json!({"number": 8, "body": {"read_changes": {"id": "../link", "reader": "sbx_6"}}}),
        json!({"number": 9, "body": {"discard": {"id": "../../link"}}}),
    ];
    let answers = said_by(SERVER.uid, &data.join("jailer.sock"), &attacks).unwrap();
    assert_eq!(answers[0]["refused"], Value::Null);
    for answer in &answers[1..] {
        assert!(answer["body"]["failed"].is_object(), "{answer}");
    }
    assert!(secrets.join("secret").exists());

    // Its own workspace is shown, and in it what is its own; the image is not the one it named.
    let (backend, _) = place.connect().await;
    let spec = Spec {
        egress_ports: Vec::new(),
        ..place.spec()
    };
    let sandbox = place.create_with(&backend, &spec).await;
    let said = sandbox
        .sh("cat /workspace/own; cat /workspace/secret; ls /etc/shadow /root /var/lib; true")
        .await;
    assert!(
        said.contains("of the server") && !said.contains("of the host"),
        "{said}"
    );
    assert!(!said.contains("\n/etc/shadow"), "{said}");

    // Its directories are its own to rename: what lies behind other names is not touched.
    let moved = as_user(SERVER.uid)
        .args([
            "/bin/sh",
            "-c",
            "cd $0 && mv sandboxes away && ln -s $1 sandboxes && mv disks gone && ln -s $1 disks",
        ])
        .args([&data, &secrets])
        .status()
        .unwrap();
    assert!(moved.success());
    let victim = secrets.join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("disk"), "of the host").unwrap();
    let attacks = [
        hello(),
        json!({"number": 1, "body": {"remove_files": {"id": "victim"}}}),
        json!({"number": 2, "body": {"discard": {"id": "victim"}}}),
    ];
    said_by(SERVER.uid, &data.join("jailer.sock"), &attacks).unwrap();
    let before = entries(&secrets);
    assert!(victim.join("disk").exists());

    // A jailer that starts there does not take them for its own.
    assert!(place.kill_jailer());
    until("the jailer gives up", || place.watchers().is_empty()).await;
    assert!(
        tokio::task::spawn_blocking({
            let options = place.options();
            move || LinuxBackend::start_jailer(&options, SERVER)
        })
        .await
        .unwrap()
        .is_err()
    );
    assert_eq!(entries(&secrets), before);
    let moved = as_user(SERVER.uid)
        .args([
            "/bin/sh",
            "-c",
            "cd $0 && rm sandboxes disks && mv away sandboxes && mv gone disks",
        ])
        .arg(&data)
        .status()
        .unwrap();
    assert!(moved.success());
    // The sandbox is still there, and the next jailer has it.
    let options = place.options();
    tokio::task::spawn_blocking(move || LinuxBackend::start_jailer(&options, SERVER))
        .await
        .unwrap()
        .unwrap();
    let (_, there) = place.connect().await;
    assert_eq!(there, [sandbox.id]);
}

/// All that is below a directory.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let below = found
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| entries(path));
    found.extend(below.collect::<Vec<_>>());
    found.sort();
    found
}

#[tokio::test]
async fn only_the_server_connects_to_its_guests() {
    if !is_root() {
        return skip(
            "only_the_server_connects_to_its_guests",
            "an ordinary user's guests are its own",
        );
    }
    let place = service_for_the_server().await;
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await;
    // Of all that could hold others off, only the socket's own mode is left.
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let guest = place
        .path()
        .join("sandboxes")
        .join(sandbox.id.as_str())
        .join("guest.sock");
    let asks = |uid: u32, gid: u32| {
        let program = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                       s.sendall(b'GET /v1/health HTTP/1.1\\r\\nhost: guest\\r\\n\\r\\n')\nprint(s.recv(99))";
        let output = Command::new("setpriv")
            .args([
                "--reuid",
                &uid.to_string(),
                "--regid",
                &gid.to_string(),
                "--clear-groups",
            ])
            .args(["/usr/bin/python3", "-c", program])
            .arg(&guest)
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert!(asks(SERVER.uid, SERVER.gid).contains("200 OK"));
    for (uid, gid) in [(OTHER, OTHER), (OTHER, SERVER.gid)] {
        let refused = asks(uid, gid);
        assert!(refused.contains("PermissionError"), "{refused}");
    }
    // Nor does anybody but the jailer look into disks.
    let looks = |uid: u32| {
        as_user(uid)
            .args(["/bin/cat", "--"])
            .arg(guest.with_file_name("disk"))
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(!looks(SERVER.uid) && !looks(OTHER));
}

#[tokio::test]
async fn nothing_is_left_after_a_stop() {
    let place = Place::new();
    let data = place.path();
    for round in 0..3 {
        let (backend, there) = place.connect().await;
        assert_eq!(there, []);
        let mut sandboxes = Vec::new();
        for _ in 0..3 {
            sandboxes.push(place.create(&backend).await);
        }
        let there = Left::of(&data, &[place.instance()]);
        assert!(!there.processes.is_empty(), "{there:?}");
        if is_root() {
            assert!(
                !there.cgroups.is_empty() && !there.ranges.is_empty() && !there.loop_devices.is_empty(),
                "{there:?}"
            );
        }
        if round > 0 {
            // Also what another jailer made.
            assert!(place.kill_jailer());
        }
        tokio::task::spawn_blocking(move || backend.stop()).await.unwrap();
        until("nothing is left", || {
            Left::of(&data, &[place.instance()]) == Left::default() && !place.records().exists()
        })
        .await;
        assert!(!data.join("jailer.sock").exists());
        let kept = std::fs::read_dir(data.join("sandboxes")).unwrap().count();
        assert_eq!(kept, 3 * (round + 1), "their files stay");
    }
}
