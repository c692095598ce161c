//! P01 to P09: nothing of the host's files is there but what the image names, and what is there cannot be changed.

use crate::calls::{self, Answers};
use crate::place::{self, Machine, Place};
use domain::{Limits, SandboxId};
use guest_protocol::Client;
use sandbox::{Backend as _, Spec, Workspace};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECRET: &str = "only the host may know this";

/// Everything at the top of a sandbox.
const TOP: &str = ".hostler bin dev etc home lib lib32 lib64 libx32 media mnt opt proc root run sbin srv sys tmp usr \
                   var workspace";

#[tokio::test]
async fn host_files_are_not_there() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let home = std::env::var("HOME").unwrap_or_default();
    let places = [
        "/tmp", "/var/tmp", "/run", "/dev/shm", "/root", "/opt", "/srv", "/mnt", "/home", &home,
    ];
    let secrets: Vec<_> = places
        .iter()
        .filter_map(|directory| {
            tempfile::Builder::new()
                .prefix("secret-of-host-")
                .tempfile_in(directory)
                .ok()
        })
        .collect();
    assert!(secrets.len() >= 2, "{secrets:?}");
    place::write(&place.workspace.path().join("secret-of-host-control"), SECRET);
    for secret in &secrets {
        place::write(secret.path(), SECRET);
        let path = secret.path().display();
        let found = place.sh(&format!("cat {path}")).await;
        // The agent may not even look into the sandbox's own /root.
        let reason = if secret.path().starts_with("/root") {
            "Permission denied"
        } else {
            "No such file"
        };
        assert!(!found.succeeded() && found.text.contains(reason), "{found:?}");
    }
    // Nor under another name, by any way that the sandbox has to the top of its files.
    let search = "for top in / /proc/self/root /proc/self/cwd /proc/thread-self/root /workspace/../..; do \
                  find $top/ \\( -path '*/proc' -o -path '*/usr' \\) -prune -o -name 'secret-of-host-*' -print; \
                  done 2>/dev/null | grep -v '/secret-of-host-control$'; \
                  cat /workspace/secret-of-host-control";
    assert_eq!(place.sh(search).await.text, SECRET);
    let top = place.sh("ls -A /").await;
    assert!(top.succeeded());
    for name in top.text.split_whitespace() {
        assert!(TOP.split_whitespace().any(|known| known == name), "{name}");
    }
    let others = place
        .sh("ls -A /home/agent /mnt /media /opt /srv /run/lock /sys | grep -v :; ls /home; ls /run")
        .await;
    assert_eq!(
        others.text.split_whitespace().collect::<Vec<_>>(),
        ["agent", "lock"]
    );
}

#[tokio::test]
async fn host_sockets_are_not_there() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let program = format!(
        "attempt('socket', lambda: socket.socket(socket.AF_UNIX).connect({:?}))\n\
         attempt('guest', lambda: socket.socket(socket.AF_UNIX).connect({:?}))",
        path.display(),
        machine
            .data
            .path()
            .join("sandboxes")
            .join(place.id.to_string())
            .join("guest.sock")
            .display(),
    );
    calls::outside(&program).expect(&[("socket", "ok")]);
    calls::inside(&place, &program).await.expect_only("ENOENT");
}

#[tokio::test]
async fn etc_holds_no_secret_of_the_host() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    for name in [
        "shadow",
        "shadow-",
        "gshadow",
        "gshadow-",
        "passwd-",
        "sudoers",
        "ssh",
        "ssl/private",
        "fstab",
        "mtab-",
    ] {
        let found = place.sh(&format!("ls -d /etc/{name}")).await;
        assert!(
            !found.succeeded() && found.text.contains("No such file"),
            "{found:?}"
        );
    }
    assert!(Path::new("/etc/shadow").exists());
    // Of each file that there is, the host's own is readable to everybody, or the sandbox's is made up.
    let listed = place.sh("find /etc -type f").await;
    assert!(listed.succeeded());
    let made_up = [
        "group",
        "hostname",
        "hosts",
        "machine-id",
        "nsswitch.conf",
        "passwd",
        "profile",
        "resolv.conf",
        "shells",
    ];
    let mut seen = 0;
    for path in listed.text.lines() {
        if made_up
            .iter()
            .any(|name| Path::new("/etc").join(name) == Path::new(path))
        {
            continue;
        }
        let mode = std::fs::metadata(path).unwrap().mode();
        assert_ne!(mode & 0o004, 0, "{path} is not for everybody on the host");
        seen += 1;
    }
    assert!(seen > 0);
    let of_host = |name: &str| std::fs::read_to_string(format!("/etc/{name}")).unwrap_or_default();
    let names = place
        .sh("cat /etc/hosts /etc/hostname /etc/machine-id; cut -d: -f1 /etc/passwd; hostname; uname -n")
        .await;
    let wanted = "127.0.0.1 localhost sandbox\n::1 localhost\nsandbox\n00000000000000000000000000000000\n\
                  root\nagent\nnobody\nsandbox\nsandbox\n";
    assert_eq!(names.text, wanted);
    let same = place.sh("cat /etc/os-release").await;
    assert_eq!(
        same.text,
        of_host("os-release"),
        "the control: a public file is the host's"
    );
    // The control of the search is found, and nothing else.
    place::write(
        &place.workspace.path().join("key.pem"),
        "-----BEGIN PRIVATE KEY-----",
    );
    let keys = place
        .sh("grep -rls 'BEGIN .*PRIVATE KEY' /etc /home /var /run /tmp /workspace")
        .await;
    assert_eq!(keys.text, "/workspace/key.pem\n");
}

#[tokio::test]
async fn the_hosts_usr_cannot_be_written() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let name = format!("hostler-attack-{}", place.id);
    let writes = |directory: &str, file: &str| {
        format!(
            "
D, F, N = '{directory}', '{file}', '{directory}/{name}'
attempt('create', lambda: open(N, 'w'))
attempt('make directory', lambda: os.mkdir(N + '-d'))
attempt('link', lambda: os.symlink('/', N + '-l'))
attempt('truncate', lambda: os.truncate(F, 0))
attempt('write', lambda: os.open(F, os.O_WRONLY | os.O_TRUNC))
attempt('mode', lambda: os.chmod(F, 0o777))
attempt('owner', lambda: os.chown(F, os.getuid(), os.getgid()))
attempt('times', lambda: os.utime(F))
attempt('attribute', lambda: os.setxattr(F, 'user.attack', b'1'))
attempt('rename', lambda: os.rename(F, N + '-r'))
attempt('remove', lambda: os.unlink(N + '-r' if os.path.exists(N + '-r') else F))
"
        )
    };
    place.sh("touch /tmp/victim").await;
    let control = calls::inside(&place, &writes("/tmp", "/tmp/victim")).await;
    for (what, answer) in control.all() {
        assert!(answer == "ok" || what == "attribute", "{what}: {answer}");
    }
    let before = std::fs::metadata("/usr/bin/env").unwrap();
    let flags = "
for path in ('/usr', '/usr/bin', '/usr/local'):
    found = os.statvfs(path).f_flag
    say(path, 'ok' if found & os.ST_RDONLY and found & os.ST_NOSUID else 'writable')
";
    calls::inside(&place, flags).await.expect_only("ok");
    for (directory, file) in [
        ("/usr", "/usr/bin/env"),
        ("/usr/bin", "/usr/bin/env"),
        ("/usr/local", "/usr/bin/env"),
    ] {
        let answers = calls::inside(&place, &writes(directory, file)).await;
        for (what, answer) in answers.all() {
            // A second wall may answer before the mount does.
            assert!(
                ["EROFS", "EACCES", "EXDEV"].contains(&answer),
                "{what} in {directory}: {answer}"
            );
        }
        assert_eq!(answers.of("mode"), "EROFS");
        assert!(!Path::new(directory).join(&name).exists());
    }
    let after = std::fs::metadata("/usr/bin/env").unwrap();
    let facts = |found: &std::fs::Metadata| {
        (
            found.len(),
            found.mode(),
            found.uid(),
            found.ctime(),
            found.ctime_nsec(),
        )
    };
    assert_eq!(facts(&before), facts(&after));
    let local = place.sh("ls -A /usr/local; ls -A /usr/bin | head -1").await;
    assert!(
        std::fs::read_dir("/usr/local").unwrap().next().is_some(),
        "the host has something to hide"
    );
    assert_eq!(local.text.lines().count(), 1, "{local:?}");
}

/// What a tree is: by path, the content, mode, owner, times and place of each file.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let facts = std::fs::symlink_metadata(&path).unwrap();
        let content = if facts.is_file() {
            std::fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let target = std::fs::read_link(&path).ok();
        if facts.is_dir() {
            pending.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let (times, place) = (
            (
                facts.mtime(),
                facts.mtime_nsec(),
                facts.ctime(),
                facts.ctime_nsec(),
            ),
            facts.ino(),
        );
        let all = (
            content,
            target,
            facts.mode(),
            facts.uid(),
            facts.nlink(),
            times,
            place,
        );
        found.insert(path, format!("{all:?}"));
    }
    found
}

#[tokio::test]
async fn the_workspace_does_not_change_before_apply() {
    let machine = Machine::start().await;
    let workspace = tempfile::tempdir().unwrap();
    let path = workspace.path().to_owned();
    for directory in ["gone", "moved", "kept"] {
        std::fs::create_dir(path.join(directory)).unwrap();
        place::write(&path.join(directory).join("file"), "of the user");
    }
    for file in [
        "written",
        "truncated",
        "mapped",
        "linked",
        "removed",
        "mode",
        "attribute",
        "replaced",
    ] {
        place::write(&path.join(file), "of the user");
    }
    std::os::unix::fs::symlink("written", path.join("link")).unwrap();
    let before = snapshot(&path);
    let place = machine.sandbox_with(Limits::default(), workspace).await;
    let script = "cd /workspace && printf agent > written && : > truncated && rm -r gone && mkdir gone && \
        printf agent > gone/file && mv moved elsewhere && ln linked another && printf agent > another && rm removed && \
        chmod 777 mode && touch -d 2001-01-01 mode && printf agent > new && mv new replaced && ln -sf kept/file link && \
        printf agent > link && \
        python3 -c 'import mmap; f = open(\"mapped\", \"r+b\"); m = mmap.mmap(f.fileno(), 0); m[:5] = b\"agent\"; m.flush()' \
        && chmod 000 kept && sync && cat written gone/file linked replaced mapped && stat -c %a mode kept";
    let outcome = place.sh(script).await;
    assert!(outcome.succeeded(), "{outcome:?}");
    assert_eq!(
        outcome.text, "agentagentagentagentagente user777\n0\n",
        "the agent sees what it did"
    );
    assert_eq!(snapshot(&path), before);
    machine.backend.destroy(&place.id).await.unwrap();
    assert_eq!(snapshot(&path), before);
}

/// A sandbox whose view of the workspace hides directories.
async fn sandbox_that_hides(machine: &Machine, workspace: tempfile::TempDir, masked: &[&str]) -> Place {
    let id = SandboxId::random();
    let path = workspace.path().canonicalize().unwrap();
    let masked = masked.iter().map(|name| path.join(name)).collect();
    let spec = Spec {
        id: id.clone(),
        limits: Limits::default(),
        workspace: Some(Workspace { path, masked }),
        egress_ports: Vec::new(),
        files_from: None,
        runtime: None,
    };
    let created = machine.backend.create(&spec).await.unwrap();
    let client = Client::new(created.guest_socket);
    client.wait_ready(Duration::from_mins(1)).await.unwrap();
    Place {
        id,
        client,
        listeners: created.listeners,
        workspace,
    }
}

#[tokio::test]
async fn the_data_directory_is_hidden() {
    let machine = Machine::start().await;
    let workspace = tempfile::tempdir().unwrap();
    let data = workspace.path().join("inner/.hostler");
    std::fs::create_dir_all(&data).unwrap();
    place::write(&data.join("secret-key"), SECRET);
    place::write(&workspace.path().join("inner/control"), "seen");
    let before = snapshot(&data);
    let place = sandbox_that_hides(&machine, workspace, &["inner/.hostler"]).await;
    let outcome = place.sh("cat /workspace/inner/control; ls -A /workspace/inner/.hostler; cat /workspace/inner/.hostler/secret-key").await;
    assert!(
        outcome.text.starts_with("seen") && outcome.text.contains("No such file"),
        "{outcome:?}"
    );
    assert!(
        !outcome.text.contains(SECRET) && outcome.text.lines().count() == 1,
        "{outcome:?}"
    );
    let attacks = "
D = '/workspace/inner/.hostler'
attempt('rename', lambda: os.rename(D, '/workspace/seen'))
attempt('remove', lambda: os.rmdir(D))
attempt('write', lambda: open(D + '/file', 'w'))
say('unmount', call('umount2', D.encode(), 2))
";
    calls::inside(&place, attacks).await.expect(&[
        ("rename", "EBUSY"),
        ("remove", "EBUSY"),
        ("write", "EROFS"),
        ("unmount", "EPERM"),
    ]);
    // Moved with the directory around it, copied, or looked for under any name.
    let moved = place
        .sh("cd /workspace; mv inner outer; cp -a outer copied; tar c . | tar t; find / -name secret-key 2>/dev/null; \
             grep -rls 'only the host' /workspace /tmp /home")
        .await;
    assert!(
        !moved.text.contains("secret-key") && moved.text.contains("control"),
        "{moved:?}"
    );
    assert_eq!(snapshot(&data), before);
}

#[tokio::test]
async fn proc_tells_nothing_of_the_host() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let masked = [
        "cmdline",
        "config.gz",
        "interrupts",
        "kallsyms",
        "key-users",
        "keys",
        "locks",
        "modules",
        "partitions",
        "swaps",
        "timer_list",
    ];
    let read = |name: &str| {
        format!(
            "try: say({name:?}, 'tells' if open('/proc/{name}', 'rb').read(1) else 'empty')\nexcept OSError as error: say({name:?}, named(error.errno))\n"
        )
    };
    let program: String = masked.iter().map(|name| read(name)).collect();
    let (inside, outside) = (calls::inside(&place, &program).await, calls::outside(&program));
    for name in masked {
        assert!(
            ["empty", "ENOENT"].contains(&inside.of(name)),
            "{name}: {}",
            inside.of(name)
        );
    }
    assert!(
        outside.all().filter(|(_, answer)| *answer == "tells").count() >= 4,
        "{outside:?}"
    );
    // What only root may read on the host, nobody may here.
    let roots = [
        "kcore",
        "kmsg",
        "iomem",
        "kpagecount",
        "vmallocinfo",
        "slabinfo",
        "1/environ",
        "1/maps",
        "1/mem",
    ];
    let program: String = roots.iter().map(|name| read(name)).collect();
    for (name, answer) in calls::inside(&place, &program).await.all() {
        let hidden = ["EACCES", "EPERM", "ENOENT"].contains(&answer);
        // Kernels show the ranges to everybody, with zeros for addresses.
        assert!(
            hidden
                || name == "iomem"
                || (name.starts_with("1/") && !machine.enforces(sandbox::Aspect::SeparateUsers)),
            "{name}: {answer}"
        );
    }
    let memory = place.sh("grep -v '^ *0*-0* ' /proc/iomem").await;
    assert!(
        memory.text.is_empty() || memory.text.contains("Permission denied"),
        "{memory:?}"
    );
    let mounts = place.sh("cat /proc/self/mountinfo").await;
    assert!(mounts.succeeded() && mounts.text.contains(" /workspace "));
    for origin in [machine.data.path(), place.workspace.path()] {
        assert!(!mounts.text.contains(origin.to_str().unwrap()), "{}", mounts.text);
    }
    let groups = place.sh("cat /proc/self/cgroup").await;
    assert!(groups.text.lines().all(|line| line.ends_with(":/")), "{groups:?}");
    let names = place.sh("cat /proc/sys/kernel/hostname; ls /proc/acpi /proc/bus /proc/driver /proc/fs /proc/irq 2>/dev/null | grep -v -e : -e '^$'").await;
    assert_eq!(names.text, "sandbox\n");
}

#[tokio::test]
async fn kernel_settings_cannot_be_reached() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let program = "
for name in ('kernel/core_pattern', 'kernel/hostname', 'kernel/shmmax', 'kernel/ns_last_pid', 'kernel/sem',
             'vm/overcommit_memory', 'net/ipv4/ip_forward', 'net/ipv4/ip_unprivileged_port_start', 'fs/mqueue/msg_max'):
    path = '/proc/sys/' + name
    if os.path.exists(path):
        attempt(name, lambda: os.open(path, os.O_WRONLY | os.O_TRUNC))
if os.path.exists('/proc/sysrq-trigger'):
    attempt('sysrq-trigger', lambda: os.open('/proc/sysrq-trigger', os.O_WRONLY | os.O_TRUNC))
";
    let answers = calls::inside(&place, program).await;
    assert!(answers.all().count() >= 6, "{answers:?}");
    answers.expect_only("EROFS");
    let own = "
attempt('own setting', lambda: open('/proc/self/oom_score_adj', 'w').write('500'))
attempt('reading', lambda: open('/proc/sys/kernel/ostype').read())
";
    calls::inside(&place, own).await.expect_only("ok");
    let sys = place.sh("ls -A /sys; find / -xdev -name kernfs -o -name sysfs 2>/dev/null; grep -c -e ' sysfs ' -e ' cgroup' -e ' securityfs ' -e ' debugfs ' -e ' bpf ' /proc/self/mounts").await;
    assert_eq!(sys.text, "0\n");
}

#[tokio::test]
async fn no_descriptor_of_the_host_is_inherited() {
    let marker = tempfile::Builder::new()
        .prefix("open-on-the-host-")
        .tempfile()
        .unwrap();
    // Left open over every exec, as a careless parent of hostler would.
    rustix::io::fcntl_setfd(marker.as_file(), rustix::io::FdFlags::empty()).unwrap();
    let control = std::process::Command::new("ls")
        .args(["-l", "/proc/self/fd"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&control.stdout).contains("open-on-the-host-"));
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let own = place
        .sh("cd /proc/self/fd && for one in *; do echo $one; done")
        .await;
    // The last one is the listing itself.
    assert_eq!(
        own.text
            .split_whitespace()
            .filter(|fd| fd.parse::<u32>().is_ok_and(|fd| fd > 3))
            .count(),
        0,
        "{own:?}"
    );
    // Only what has a session of its own outlives the command that started it.
    let started = place
        .sh("setsid sh -c 'touch /tmp/started; exec sleep 300' </dev/null >/dev/null 2>&1 & until [ -e /tmp/started ]; do :; done")
        .await;
    assert!(started.succeeded());
    let processes = calls::processes_on_the_host(&place).await;
    let mut seen = 0;
    for id in processes {
        // What has ended meanwhile has neither mounts nor descriptors.
        let Ok(mounts) = std::fs::read_to_string(format!("/proc/{id}/mountinfo")) else {
            continue;
        };
        // An ordinary user may not look at what its guest has, which is another user.
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{id}/fd")) else {
            assert!(!calls::is_root());
            continue;
        };
        seen += 1;
        let known: Vec<_> = mounts
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let is_guest = std::fs::read_to_string(format!("/proc/{id}/status"))
            .unwrap()
            .lines()
            .any(|line| line.starts_with("NSpid") && line.ends_with("\t1"));
        for entry in descriptors {
            let entry = entry.unwrap();
            let target = std::fs::read_link(entry.path()).unwrap().display().to_string();
            assert!(!target.contains("open-on-the-host-"), "{id}: {target}");
            let facts = std::fs::read_to_string(format!("/proc/{id}/fdinfo/{}", entry.file_name().display()))
                .unwrap();
            let mount = facts
                .lines()
                .find_map(|line| line.strip_prefix("mnt_id:"))
                .unwrap()
                .trim();
            // What has no name has no mount of the sandbox; the guest's outbox is a file without one.
            let nameless = !target.starts_with('/') || (is_guest && target.ends_with(" (deleted)"));
            // The guest's own standard streams are the machine's /dev/null.
            let nothing = is_guest && target == "/dev/null";
            assert!(
                nameless || nothing || known.contains(&mount),
                "{id} (guest: {is_guest}) has {target}"
            );
        }
    }
    assert!(seen > usize::from(calls::is_root()), "the guest and the command");
}

#[tokio::test]
async fn file_handles_open_nothing() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    place::write(secret.path(), SECRET);
    let path = secret.path().display();
    let program = format!(
        "
handle = ctypes.create_string_buffer(136)
ctypes.cast(handle, ctypes.POINTER(ctypes.c_uint))[0] = 128
mount = ctypes.c_int()
say('name', call('name_to_handle_at', -100, b'{path}', handle, ctypes.byref(mount), 0))
say('handle', handle.raw.hex())
"
    );
    let made: Answers = calls::outside(&program);
    assert_eq!(made.of("name"), "ok");
    // The file's own handle, the root's of most file systems, and one of a file that the sandbox has.
    let open = |handle: &str, start: &str| {
        format!(
            "
start = os.open({start:?}, os.O_RDONLY)
own = ctypes.create_string_buffer(bytes.fromhex('{handle}'), 136)
say('secret', call('open_by_handle_at', start, own, os.O_RDONLY))
root = ctypes.create_string_buffer((8).to_bytes(4, 'little') + (1).to_bytes(4, 'little') + (2).to_bytes(4, 'little') + bytes(4), 136)
say('root', call('open_by_handle_at', start, root, os.O_RDONLY))
root = ctypes.create_string_buffer(136)
ctypes.cast(root, ctypes.POINTER(ctypes.c_uint))[0] = 128
say('name', call('name_to_handle_at', -100, {start:?}.encode(), root, ctypes.byref(ctypes.c_int()), 0))
"
        )
    };
    if calls::is_root() {
        let parent = secret.path().parent().unwrap().to_str().unwrap();
        calls::outside(&open(made.of("handle"), parent)).expect(&[("secret", "ok"), ("name", "ok")]);
    }
    for start in ["/usr", "/workspace", "/", "/home/agent"] {
        calls::inside(&place, &open(made.of("handle"), start))
            .await
            .expect_only("EPERM");
    }
}
