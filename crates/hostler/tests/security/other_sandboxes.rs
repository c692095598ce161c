//! P10 to P13: two sandboxes of one machine have nothing in common.

use crate::calls;
use crate::place::{Machine, Place};
use sandbox::{Aspect, Backend as _};
use std::path::Path;

/// Starts a program that says one line when it is ready and then stays, and gives that line.
async fn stays(place: &Place, program: &str) -> String {
    let whole = format!(
        "
import os, socket, sys, time, ctypes
end, start = os.pipe()
if os.fork():
    os.close(start)
    print(os.read(end, 100).decode())
    sys.exit()
os.setsid()
null = os.open('/dev/null', os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
{program}
os.write(start, b'ready ' + str(os.getpid()).encode())
os.close(start)
time.sleep(600)
"
    );
    let outcome = place.python(&whole).await;
    assert!(
        outcome.succeeded() && outcome.text.starts_with("ready "),
        "{outcome:?}"
    );
    outcome.text.trim().trim_start_matches("ready ").to_owned()
}

#[tokio::test]
async fn another_sandboxs_files_are_not_there() {
    let machine = Machine::start().await;
    let (one, other) = (machine.sandbox().await, machine.sandbox().await);
    let places = "/tmp /var/tmp /home/agent /dev/shm /workspace /run/lock";
    let write = format!(
        "for place in {places}; do echo of-one > $place/of-one-$$ || exit 1; done; chmod -R a+rX /home/agent"
    );
    let written = one.sh(&write).await;
    assert!(written.succeeded(), "{written:?}");
    let search = "for top in / /proc/*/root /proc/*/cwd; do find $top/ -path '*/usr' -prune -o -path '*/proc' -prune -o \
                  -name 'of-one-*' -print; done 2>/dev/null | sed 's,.*//*\\([^/]*/of-one\\)-.*,\\1,' | sort -u | wc -l";
    let (found, nothing) = (one.sh(search).await, other.sh(search).await);
    assert_eq!(
        found.text.trim(),
        "6",
        "the control: they are where they were written"
    );
    assert_eq!(nothing.text.trim(), "0");
    // Nor in the next sandbox, which may get what the first one leaves.
    machine.backend.destroy(&one.id).await.unwrap();
    assert_eq!(machine.sandbox().await.sh(search).await.text.trim(), "0");
}

#[tokio::test]
async fn another_sandboxs_processes_are_not_there() {
    let machine = Machine::start().await;
    let (one, other) = (machine.sandbox().await, machine.sandbox().await);
    let victim = stays(&one, "").await;
    let host_ids = calls::processes_on_the_host(&one).await;
    assert!(host_ids.len() >= 2, "{host_ids:?}");
    let seen = other.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
    assert!(!seen.text.contains("time.sleep(600)"), "{seen:?}");
    let visible = one.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
    assert!(
        visible.text.contains("time.sleep(600)"),
        "the control: {visible:?}"
    );
    let attempts = host_ids.iter().chain([&4_000_000]).map(|id| {
        format!(
            "say('kill {id}', call('kill', {id}, 9))\n\
             say('open {id}', call('pidfd_open', {id}, 0))\n\
             say('trace {id}', call('ptrace', 0x4206, {id}, 0, 0))\n"
        )
    });
    let attack = attempts.collect::<Vec<_>>().concat();
    for (what, answer) in calls::inside(&other, &attack).await.all() {
        // No process has a number that is larger than the namespace's largest.
        assert!(answer == "ESRCH" || answer == "EINVAL", "{what}: {answer}");
    }
    // All that it can reach, and each number that the other's process could have.
    let storm = other
        .python("import os, signal\nfor pid in range(2, 5000):\n  if pid != os.getpid():\n    try: os.kill(pid, 9)\n    except OSError: pass\ntry: os.kill(-1, 9)\nexcept OSError: pass\nprint('done')")
        .await;
    assert!(storm.text.contains("done"), "{storm:?}");
    let alive = one
        .sh(&format!(
            "kill -0 {victim} && echo alive; kill -9 {victim} && echo killed"
        ))
        .await;
    assert_eq!(alive.text, "alive\nkilled\n");
}

#[tokio::test]
async fn another_sandboxs_channels_are_not_there() {
    let machine = Machine::start().await;
    let (one, other) = (machine.sandbox().await, machine.sandbox().await);
    let serve = "
libc = ctypes.CDLL(None, use_errno=True)
keep = [socket.create_server(('127.0.0.1', 7777)), socket.create_server(('::1', 7778), family=socket.AF_INET6)]
abstract = socket.socket(socket.AF_UNIX)
abstract.bind('\\0attack')
abstract.listen()
datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
datagrams.bind('\\0attack-datagrams')
open('/dev/shm/attack', 'w').write('1')
assert libc.shmget(0x4141, 4096, 0o1666) >= 0 and libc.semget(0x4141, 1, 0o1666) >= 0 and libc.msgget(0x4141, 0o1666) >= 0
";
    stays(&one, serve).await;
    let attack = "
attempt('loopback', lambda: socket.create_connection(('127.0.0.1', 7777)))
attempt('loopback of version 6', lambda: socket.create_connection(('::1', 7778)))
attempt('abstract socket', lambda: socket.socket(socket.AF_UNIX).connect('\\0attack'))
attempt('abstract datagrams', lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect('\\0attack-datagrams'))
attempt('shared memory', lambda: open('/dev/shm/attack'))
for name in ('shmget', 'semget', 'msgget'):
    say(name, call(name, 0x4141, 0, 0))
";
    calls::inside(&one, attack).await.expect_only("ok");
    let refused = calls::inside(&other, attack).await;
    assert_eq!(refused.all().count(), 8);
    for (what, answer) in refused.all() {
        let wanted = if what.contains("loopback") || what.contains("abstract") {
            "ECONNREFUSED"
        } else {
            "ENOENT"
        };
        assert_eq!(answer, wanted, "{what}");
    }
    // Landlock lets nobody open message queues, which have no path below the root.
    let queue =
        |flags: &str| format!("say('queue', call('mq_open', b'attack', os.O_RDWR | {flags}, 0o666, 0))");
    let made = calls::inside(&one, &queue("os.O_CREAT")).await;
    assert!(["ok", "EACCES"].contains(&made.of("queue")), "{made:?}");
    let found = calls::inside(&other, &queue("0")).await;
    assert!(["ENOENT", "EACCES"].contains(&found.of("queue")), "{found:?}");
}

/// The machine's limit of inotify instances for one user.
fn inotify_limit() -> usize {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap();
    text.trim().parse().unwrap()
}

#[tokio::test]
async fn quotas_of_the_kernel_are_not_shared() {
    let machine = Machine::start().await;
    let (one, other) = (machine.sandbox().await, machine.sandbox().await);
    // Takes all that it can get, and keeps it.
    let greedy = "
libc = ctypes.CDLL(None, use_errno=True)
while len(os.listdir('/proc/self/fd')) < 12000 and libc.inotify_init1(0) >= 0:
    pass
pipes = []
try:
    import fcntl
    for _ in range(500):
        pipes.append(os.pipe())
        fcntl.fcntl(pipes[-1][1], 1031, 1 << 20)
except OSError:
    pass
";
    let modest = "
say('inotify', 'ok' if all(raw('inotify_init1', 0) >= 0 for _ in range(32)) else named(ctypes.get_errno()))
import fcntl
ends = os.pipe()
attempt('pipe', lambda: fcntl.fcntl(ends[1], 1031, 1 << 20))
attempt('signal', lambda: [signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]), os.kill(os.getpid(), signal.SIGUSR1)])
";
    assert!(inotify_limit() < 12_000 || !calls::is_root());
    calls::inside(&other, modest).await.expect_only("ok");
    stays(&one, greedy).await;
    if calls::is_root() {
        assert!(machine.enforces(Aspect::SeparateUsers));
        calls::inside(&other, modest).await.expect_only("ok");
        calls::outside(modest).expect_only("ok");
        assert_ne!(owner(&one).await, owner(&other).await);
    } else {
        let detail = machine
            .report
            .aspects
            .iter()
            .find(|found| found.aspect == Aspect::SeparateUsers)
            .unwrap();
        assert!(
            !detail.enforced || detail.detail.contains("shared by its sandboxes"),
            "{detail:?}"
        );
    }
}

/// Who the agent is on the host.
async fn owner(place: &Place) -> String {
    stays(place, "").await;
    let ids = calls::processes_on_the_host(place).await;
    let agents = ids.iter().filter_map(|id| {
        let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).ok()?;
        status
            .lines()
            .find(|line| line.starts_with("Uid:"))
            .map(str::to_owned)
    });
    let mut users: Vec<_> = agents.collect();
    users.sort();
    users.dedup();
    assert_eq!(users.len(), 2, "the guest's and the agent's: {users:?}");
    users.join(" ")
}
