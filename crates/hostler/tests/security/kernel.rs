//! P32 to P40: the calls with which a program would change the kernel's view of it, or reach what is not its own.

use crate::calls;
use crate::place::Machine;
use domain::Limits;
use sandbox::Aspect;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

#[tokio::test]
async fn mounts_are_refused() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let attack = "
calls([
    ('mount', b'tmpfs', b'/mnt', b'tmpfs', 0, 0),
    ('umount2', b'/proc', 2),
    ('pivot_root', b'/tmp', b'/tmp'),
    ('open_tree', -100, b'/etc', 0x1 | 0x80000),
    ('move_mount', -1, b'', -100, b'/mnt', 4),
    ('fsopen', b'tmpfs', 0),
    ('fsconfig', -1, 6, 0, 0, 0),
    ('fsmount', -1, 0, 0),
    ('fspick', -100, b'/tmp', 0),
    ('mount_setattr', -100, b'/', 0, 0, 32),
])
say('mount bind', call('mount', b'/usr', b'/mnt', 0, 0x1000, 0))
say('mount remount', call('mount', 0, b'/', 0, 0x20 | 0x1000, 0))
say('mount move', call('mount', b'/proc', b'/mnt', 0, 0x2000, 0))
say('mount propagation', call('mount', 0, b'/', 0, 0x40000 | 0x4000, 0))
say('mount proc', call('mount', b'proc', b'/mnt', b'proc', 0, 0))
say('chroot', call('chroot', b'/tmp'))
";
    let before = place.sh("cat /proc/self/mountinfo").await;
    calls::inside(&place, attack).await.expect_only("EPERM");
    assert_eq!(place.sh("cat /proc/self/mountinfo").await.text, before.text);
    let control = calls::outside_as_root_of_a_namespace(attack);
    control.expect(&[
        ("mount", "ok"),
        ("mount bind", "ok"),
        ("fsopen", "ok"),
        ("open_tree", "ok"),
    ]);
    for tool in [
        "mount -t tmpfs none /mnt",
        "umount -l /workspace",
        "mount -o remount,rw /usr",
        "unshare -m true",
    ] {
        assert!(!place.sh(tool).await.succeeded(), "{tool}");
    }
}

const NAMESPACES: &str = "
flags = {'mount': 0x20000, 'cgroup': 0x2000000, 'uts': 0x4000000, 'ipc': 0x8000000, 'user': 0x10000000, 'pid': 0x20000000, 'network': 0x40000000}
def in_child(action):
    ends = os.pipe()
    child = os.fork()
    if not child:
        os.write(ends[1], action().encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(ends[0], 100).decode()
def cloned(flag):
    made = raw('clone', flag | signal.SIGCHLD)
    if made == 0:
        os._exit(0)
    return 'ok' if made > 0 else named(ctypes.get_errno())
def also_new(flag):
    arguments = (ctypes.c_uint64 * 8)(flag, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    made = raw('clone3', arguments, 64)
    if made == 0:
        os._exit(0)
    return 'ok' if made > 0 else named(ctypes.get_errno())
for name, flag in flags.items():
    say(f'unshare {name}', in_child(lambda: call('unshare', flag)))
    say(f'clone {name}', in_child(lambda: cloned(flag)))
    say(f'clone3 {name}', in_child(lambda: also_new(flag)))
say('unshare time', in_child(lambda: call('unshare', 0x80)))
say('unshare all', in_child(lambda: call('unshare', sum(flags.values()))))
for name in ('mnt', 'cgroup', 'uts', 'ipc', 'user', 'pid', 'net', 'time'):
    own = os.open(f'/proc/self/ns/{name}', os.O_RDONLY)
    say(f'setns {name}', in_child(lambda: call('setns', own, 0)))
";

#[tokio::test]
async fn namespaces_are_refused() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let answers = calls::inside(&place, NAMESPACES).await;
    assert_eq!(answers.all().count(), 31);
    for (what, answer) in answers.all() {
        let wanted = if what.starts_with("clone3") {
            "ENOSYS"
        } else {
            "EPERM"
        };
        assert_eq!(answer, wanted, "{what}");
    }
    let control = calls::outside_as_root_of_a_namespace(NAMESPACES);
    for (what, answer) in control.all().filter(|(what, _)| !what.starts_with("setns")) {
        assert_eq!(answer, "ok", "{what}");
    }
    control.expect(&[("setns mnt", "ok")]);
    // What a thread needs is allowed, and won nothing.
    let harmless = "
import threading
attempt('thread', lambda: threading.Thread(target=lambda: None).start())
say('files', call('unshare', 0x400))
";
    calls::inside(&place, harmless).await.expect_only("ok");
}

#[tokio::test]
async fn no_capability_can_be_won() {
    let machine = Machine::start().await;
    let workspace = tempfile::tempdir().unwrap();
    std::fs::set_permissions(workspace.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy("/bin/cat", workspace.path().join("cat")).unwrap();
    // Every capability, permitted and effective: a file like this on the host gives them to anybody.
    let give = format!(
        "attempt('give', lambda: os.setxattr('{0}/cat', 'security.capability', bytes.fromhex('01000002' + '00200000' + '00000000' * 3)))
def run(user):
    ends = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(ends[1], 1)
        os.setgid(user); os.setuid(user)
        os.execv('{0}/cat', ['cat', '/proc/self/status'])
    os.waitpid(child, 0)
    text = os.read(ends[0], 65536).decode()
    return [line for line in text.splitlines() if line.startswith('CapEff')][0].split()[1]
say('effective', run(65534) if os.getuid() == 0 else 'none')",
        workspace.path().display()
    );
    let given = calls::outside(&give);
    if calls::is_root() {
        given.expect(&[("give", "ok")]);
        assert!(
            !given.of("effective").starts_with("0000000000000000"),
            "{given:?}"
        );
    }
    let place = machine.sandbox_with(Limits::default(), workspace).await;
    let none = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
    for program in [
        "cat",
        "/workspace/cat",
        "/usr/bin/newuidmap 2>&1 >/dev/null; cat",
        "python3 -c 'print(open(\"/proc/self/status\").read())' ; : ",
    ] {
        let status = place
            .sh(&format!(
                "{program} /proc/self/status | grep -E '^(Cap|NoNewPrivs|Seccomp:)'"
            ))
            .await;
        assert!(
            status.text.ends_with(none) || program.ends_with(": "),
            "{program}: {status:?}"
        );
    }
    let attack = "
import shutil
shutil.copy('/bin/cat', '/tmp/cat')
attempt('file capability', lambda: os.setxattr('/tmp/cat', 'security.capability', bytes.fromhex('01000002' + '00200000' + '00000000' * 3)))
attempt('root', lambda: os.setresuid(0, 0, 0))
attempt('root group', lambda: os.setresgid(0, 0, 0))
attempt('groups', lambda: os.setgroups([0, 5]))
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
say('set', call('capset', header, (ctypes.c_uint32 * 6)(*[0xffffffff] * 6)))
say('ambient', call('prctl', 47, 2, 21, 0, 0))
";
    calls::inside(&place, attack).await.expect_only("EPERM");
    let kept = "
say('privileges again', call('prctl', 38, 0, 0, 0, 0))
say('keep', call('prctl', 28, 0x2f))
say('without filter', call('prctl', 22, 0))
";
    for (what, answer) in calls::inside(&place, kept).await.all() {
        assert!(["EINVAL", "EPERM"].contains(&answer), "{what}: {answer}");
    }
}

#[tokio::test]
async fn set_uid_does_nothing() {
    let machine = Machine::start().await;
    let workspace = tempfile::tempdir().unwrap();
    std::fs::set_permissions(workspace.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = workspace.path().join("id");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    if calls::is_root() {
        std::os::unix::fs::chown(&program, Some(65_533), Some(65_533)).unwrap();
    }
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o6755)).unwrap();
    if calls::is_root() {
        let control = Command::new(&program).arg("-u").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&control.stdout), "65533\n");
    }
    let place = machine.sandbox_with(Limits::default(), workspace).await;
    let bits = place
        .sh("stat -c %a /workspace/id; /workspace/id -u; /workspace/id -g; /workspace/id -ru")
        .await;
    assert_eq!(bits.text, "6755\n1000\n1000\n1000\n");
    // Made by the agent, in each directory where it can: a file that its own children run as nobody else.
    let own = place
        .sh("for place in /tmp /home/agent /var/tmp /workspace; do cp /usr/bin/id $place/mine && chmod 6755 $place/mine && \
             echo $($place/mine -u) $($place/mine -g) $(stat -c %u $place/mine); done; chown 0 /tmp/mine; chgrp 5 /tmp/mine")
        .await;
    let lines: Vec<_> = own.text.lines().collect();
    assert_eq!(&lines[..4], ["1000 1000 1000"; 4], "{own:?}");
    assert_eq!(own.text.matches("Operation not permitted").count(), 2, "{own:?}");
    // No mount honours the bit, so no set-uid program of the machine does either.
    let mounts = place
        .sh("grep -vc '^[^ ]* [^ ]* [^ ]* [^ ]*nosuid' /proc/self/mounts; ls -l /usr/bin/su | cut -c1-10")
        .await;
    assert_eq!(mounts.text, "0\n-rwsr-xr-x\n");
}

#[tokio::test]
async fn devices_cannot_be_reached_or_made() {
    let machine = Machine::start().await;
    let workspace = tempfile::tempdir().unwrap();
    let node = workspace.path().join("zero");
    if calls::is_root() {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let (kind, device) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5));
        rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, device).unwrap();
        rustix::fs::chmod(&node, mode).unwrap();
        std::fs::File::open(&node).unwrap();
    }
    let place = machine.sandbox_with(Limits::default(), workspace).await;
    let there = place.sh("ls /dev; cat /dev/null; echo lost > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c").await;
    assert_eq!(
        there.text.split_whitespace().collect::<Vec<_>>(),
        [
            "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
            "urandom", "zero", "4", "4"
        ]
    );
    let attack = "
kinds = {'memory': (0o020666, 1, 1), 'disk': (0o060666, 7, 0), 'zero': (0o020666, 1, 5), 'console': (0o020666, 5, 1), 'whiteout': (0o020666, 0, 0)}
for place in ('/tmp', '/dev/shm', '/workspace', '/home/agent', '/var/tmp', '/dev'):
    for name, (mode, major, minor) in kinds.items():
        attempt(f'{name} in {place}', lambda: os.mknod(f'{place}/attack-{name}', mode, os.makedev(major, minor)))
attempt('fifo', lambda: os.mkfifo('/tmp/fifo'))
";
    let answers = calls::inside(&place, attack).await;
    answers.expect(&[("fifo", "ok")]);
    for (what, answer) in answers.all().filter(|(what, _)| *what != "fifo") {
        assert!(["EPERM", "EACCES", "EROFS"].contains(&answer), "{what}: {answer}");
    }
    if calls::is_root() {
        let open = place.sh("head -c 1 /workspace/zero").await;
        assert!(
            !open.succeeded() && open.text.contains("Permission denied"),
            "{open:?}"
        );
    }
    let nodes = place.sh("find / -xdev \\( -type b -o -type c \\) ! -path '/workspace/*' 2>/dev/null; find /dev -type b; find /dev -type c | grep -vE '^/dev/(full|null|random|tty|urandom|zero|pts/ptmx)$'; rm -f /dev/null /dev/zero; chmod 777 /dev/null").await;
    assert_eq!(
        nodes.text.matches("Read-only file system").count(),
        3,
        "{nodes:?}"
    );
    assert_eq!(nodes.text.lines().count(), 3, "{nodes:?}");
}

#[tokio::test]
async fn keyrings_are_refused() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let attack = "
calls([('add_key', b'user', b'attack', b'1', 1, -2), ('request_key', b'user', b'attack-none', 0, 0), ('keyctl', 0, -2, 1)])
say('session', call('keyctl', 1, 0))
say('of the user', call('keyctl', 0, -4, 0))
";
    calls::inside(&place, attack).await.expect_only("EPERM");
    calls::outside(attack).expect(&[("add_key", "ok"), ("keyctl", "ok"), ("request_key", "ENOKEY")]);
    assert_eq!(place.sh("cat /proc/keys /proc/key-users").await.text, "");
}

#[tokio::test]
async fn dangerous_calls_are_refused() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    // Each with arguments that do nothing where the call is not refused.
    let attack = "
calls([
    ('bpf', 9999, 0, 0),
    ('perf_event_open', 0, 0, -1, -1, 0),
    ('userfaultfd', 0xffff),
    ('io_uring_setup', 0, 0),
    ('io_uring_enter', -1, 0, 0, 0, 0),
    ('io_uring_register', -1, 9999, 0, 0),
    ('init_module', 0, 0, 0),
    ('finit_module', -1, b'', 0),
    ('delete_module', 0, 0),
    ('kexec_load', 0, 0, 0, 0xffff),
    ('kexec_file_load', -1, -1, 0, 0, 0xffff),
    ('reboot', 0, 0, 0, 0),
    ('swapon', 0, 0x1000000),
    ('swapoff', b'/nonexistent'),
    ('clock_settime', 0, 0),
    ('adjtimex', 0),
    ('clock_adjtime', 0, 0),
    ('sethostname', b'', -1),
    ('setdomainname', b'', -1),
    ('acct', b'/nonexistent'),
    ('quotactl', -1, 0, 0, 0),
    ('syslog', 9999, 0, 0),
    ('fanotify_init', -1, 0),
])
";
    calls::inside(&place, attack).await.expect_only("EPERM");
    if calls::is_root() {
        calls::outside(attack).expect_never("EPERM");
    }
    let fatal = "
calls([('vhangup',), ('settimeofday', 0, 0), ('reboot', -18751827, 672274793, 0x1234567, 0), ('kexec_load', 0, 0, 0, 0)])
say('clock', call('clock_settime', 0, (ctypes.c_long * 2)(0, 0)))
say('name', call('sethostname', b'attacked', 8))
";
    calls::inside(&place, fatal).await.expect_only("EPERM");
    assert_eq!(place.sh("uname -n").await.text, "sandbox\n");
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn other_architectures_calls_are_refused() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    // `int 0x80` with numbers of the 32-bit table: getpid, mount, unshare, keyctl, and a directory made by mkdir.
    let attack = "
import mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
def old(number):
    code.seek(0)
    code.write(b'\\x53\\xb8' + number.to_bytes(4, 'little') + b'\\xbb' + (0x10000000).to_bytes(4, 'little') + b'\\xcd\\x80\\x5b\\xc3')
    result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    return named(-result) if -4096 < result < 0 else 'ok'
say('getpid', old(20))
say('getuid', old(199))
say('unshare', old(310))
say('socket', old(359))
say('of x32', call(0x40000000 | 39))
say('of x32, mount', call(0x40000000 | 165, b'tmpfs', b'/mnt', b'tmpfs', 0, 0))
say('beyond', call(0x7fffffff))
say('negative', call(-1))
";
    calls::inside(&place, attack).await.expect_only("ENOSYS");
    calls::outside_as_root_of_a_namespace(attack).expect(&[
        ("getpid", "ok"),
        ("getuid", "ok"),
        ("unshare", "ok"),
    ]);
}

#[tokio::test]
async fn the_cgroup_cannot_be_left() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let id = calls::processes_on_the_host(&place).await[0];
    let groups = || std::fs::read_to_string(format!("/proc/{id}/cgroup")).unwrap();
    let before = groups();
    let attack = "
say('mount', call('mount', b'none', b'/mnt', b'cgroup2', 0, 0))
say('mount old', call('mount', b'none', b'/mnt', b'cgroup', 0, b'devices'))
say('open', call('fsopen', b'cgroup2', 0))
say('namespace', call('unshare', 0x2000000))
";
    calls::inside(&place, attack).await.expect_only("EPERM");
    let own = "
arguments = (ctypes.c_uint64 * 11)(0x200000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, os.open('/proc/self', os.O_RDONLY))
say('into', call('clone3', arguments, 88))
attempt('file', lambda: open('/proc/self/cgroup', 'w'))
";
    let answers = calls::inside(&place, own).await;
    answers.expect(&[("into", "ENOSYS")]);
    assert!(["EACCES", "EPERM"].contains(&answers.of("file")), "{answers:?}");
    let search = "find / \\( -name cgroup.procs -o -name tasks -o -name release_agent -o -name memory.max \\) \
                  ! -path '/usr/*' 2>/dev/null; grep cgroup /proc/self/mounts";
    assert_eq!(place.sh(search).await.text, "");
    let control = Command::new("sh")
        .args(["-c", "grep -c cgroup /proc/self/mounts"])
        .output()
        .unwrap();
    assert_ne!(
        String::from_utf8_lossy(&control.stdout).trim(),
        "0",
        "the host has them"
    );
    let shown = place.sh("cat /proc/self/cgroup").await;
    assert!(
        shown.succeeded() && shown.text.lines().all(|line| line.ends_with(":/")),
        "{shown:?}"
    );
    assert_eq!(groups(), before);
    if machine.enforces(Aspect::MemoryLimit) {
        assert!(before.lines().any(|line| !line.ends_with(":/")), "{before}");
    }
}
