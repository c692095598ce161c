//! Exhaustion: what one sandbox takes ends at its limit, and the machine goes on.

use crate::place::{Machine, Outcome, Place, skip};
use crate::product::{Product, python, running};
use domain::Limits;
use guest_protocol::{Exit, Framing, Spawn, Stdio};
use sandbox::{Aspect, Backend as _};
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_mins(1);

async fn limited(limits: Limits) -> (Machine, Place) {
    let machine = Machine::start().await;
    let place = machine.sandbox_with(limits, tempfile::tempdir().unwrap()).await;
    (machine, place)
}

/// The same where this machine enforces the limit; else the test says that it did not run.
async fn enforced(test: &str, aspect: Aspect, limits: Limits) -> Option<(Machine, Place)> {
    let (machine, place) = limited(limits).await;
    if machine.enforces(aspect) {
        return Some((machine, place));
    }
    skip(test, &format!("{aspect:?} is not enforced for this user"));
    None
}

fn killed(outcome: &Outcome) -> bool {
    outcome.exit == Exit::Signal(9)
}

async fn memory_kills(machine: &Machine, place: &Place) -> u64 {
    machine
        .backend
        .observe(&place.id)
        .await
        .unwrap()
        .memory_kills
        .unwrap()
}

/// Starts a command that nobody waits for.
async fn start(place: &Place, id: &str, script: &str) {
    let spawn = Spawn {
        id: id.to_owned(),
        argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        cwd: None,
        stdio: Stdio::Pipes,
        framing: Framing::Chunks,
    };
    place.client.spawn(&spawn).await.unwrap();
}

#[tokio::test]
async fn memory_ends_at_its_limit() {
    let limits = Limits {
        memory_bytes: 96 * MIB,
        ..Limits::default()
    };
    let Some((machine, place)) = enforced("memory_ends_at_its_limit", Aspect::MemoryLimit, limits).await
    else {
        return;
    };
    let take = |mib: u64| format!("taken = bytearray({mib} << 20)\nprint('took', len(taken))");
    assert!(place.python(&take(32)).await.succeeded());
    assert_eq!(memory_kills(&machine, &place).await, 0);
    let greedy = place.python(&take(512)).await;
    assert!(killed(&greedy) && greedy.text.is_empty(), "{greedy:?}");
    assert!(memory_kills(&machine, &place).await >= 1);
    // The sandbox goes on, and it knows what it has.
    let shown = place.sh("grep MemTotal /proc/meminfo").await;
    assert!(shown.text.contains("98304 kB"), "{shown:?}");
}

#[tokio::test]
async fn files_in_memory_count_as_memory() {
    let limits = Limits {
        memory_bytes: 96 * MIB,
        ..Limits::default()
    };
    let Some((machine, place)) =
        enforced("files_in_memory_count_as_memory", Aspect::MemoryLimit, limits).await
    else {
        return;
    };
    assert!(
        place
            .sh("head -c 16M /dev/zero > /dev/shm/small && rm /dev/shm/small")
            .await
            .succeeded()
    );
    let shared = place
        .sh("head -c 200M /dev/zero > /dev/shm/large; code=$?; rm -f /dev/shm/large; exit $code")
        .await;
    assert!(!shared.succeeded(), "{shared:?}");
    let anonymous =
        "import os\nfile = os.memfd_create('m')\nfor _ in range(200): os.write(file, b'x' * (1 << 20))";
    let taken = tokio::time::timeout(DEADLINE, place.attempt(&["/usr/bin/python3", "-c", anonymous])).await;
    // Until the file is gone there may be nobody left to end but the guest, and the sandbox with it.
    assert!(taken.unwrap().is_none_or(|outcome| killed(&outcome)));
    assert!(memory_kills(&machine, &place).await >= 1);
    let place = machine.sandbox_with(limits, tempfile::tempdir().unwrap()).await;
    let pipes = r"
import fcntl, os
kept = []
try:
    while len(kept) < 4000:
        read, write = os.pipe()
        try: fcntl.fcntl(write, 1031, 1 << 20)
        except OSError: pass
        os.set_blocking(write, False)
        try:
            while True: os.write(write, b'x' * 65536)
        except BlockingIOError: pass
        kept.append((read, write))
        print('held', len(kept), flush=True)
except OSError as error: print('refused', error)
print('done', flush=True)";
    let outcome = tokio::time::timeout(DEADLINE, place.attempt(&["/usr/bin/python3", "-c", pipes]))
        .await
        .unwrap();
    let memory = machine
        .backend
        .observe(&place.id)
        .await
        .unwrap()
        .memory_bytes
        .unwrap();
    assert!(memory <= 96 * MIB, "{memory}");
    let Some(outcome) = outcome else {
        assert!(memory_kills(&machine, &place).await >= 1);
        return;
    };
    assert!(place.sh("true").await.succeeded());
    assert!(outcome.text.starts_with("held 1\n"));
    assert!(
        killed(&outcome) || outcome.text.contains("refused") || outcome.text.contains("done"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn processes_end_at_their_limit() {
    let (_machine, place) = limited(Limits {
        pids: 64,
        ..Limits::default()
    })
    .await;
    let program = r"
import os, threading, time
children = 0
try:
    while children < 500:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        children += 1
except OSError as error: print(error.strerror)
print('children', children, flush=True)
os.killpg(0, 9)";
    let outcome = place.python(program).await;
    let children: u32 = outcome.text.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(
        outcome.text.contains("temporarily unavailable") && (16..64).contains(&children),
        "{outcome:?}"
    );
    // Threads are counted the same, and the host still drives the guest.
    let program = r"
import threading
stop, threads = threading.Event(), 0
try:
    while threads < 500:
        threading.Thread(target=stop.wait, daemon=True).start()
        threads += 1
except RuntimeError as error: print(error)
stop.set()
print('threads', threads)";
    let outcome = place.python(program).await;
    let threads: u32 = outcome.text.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(
        outcome.text.contains("can't start new thread") && (16..64).contains(&threads),
        "{outcome:?}"
    );
}

/// CPU time that two busy processes got in a while, in thousandths of it.
async fn share(cpu_millis: u32) -> Option<u64> {
    let limits = Limits {
        cpu_millis,
        ..Limits::default()
    };
    let (machine, place) = enforced("cpu_ends_at_its_limit", Aspect::CpuLimit, limits).await?;
    let used = async || {
        machine
            .backend
            .observe(&place.id)
            .await
            .unwrap()
            .cpu_micros
            .unwrap()
    };
    let (before, began) = (used().await, Instant::now());
    let outcome = place
        .sh("for i in 1 2; do timeout 2 sh -c 'while :; do :; done' & done; wait")
        .await;
    let (after, wall) = (used().await, began.elapsed());
    assert!(wall >= Duration::from_secs(2), "{outcome:?}");
    Some((after - before) * 1000 / u64::try_from(wall.as_micros()).unwrap())
}

#[tokio::test]
async fn cpu_ends_at_its_limit() {
    let (Some(little), Some(much)) = (share(50).await, share(1500).await) else {
        return;
    };
    // A busy machine gives less, and never more.
    assert!(little <= 120, "{little}");
    assert!(much > little + little / 2, "{much} against {little}");
}

#[tokio::test]
async fn disk_ends_at_its_limit() {
    let limits = Limits {
        disk_bytes: 256 * MIB,
        ..Limits::default()
    };
    let Some((machine, place)) = enforced("disk_ends_at_its_limit", Aspect::DiskLimit, limits).await else {
        return;
    };
    for directory in ["/workspace", "/home/agent", "/tmp"] {
        let fill = |size: &str| {
            format!(
                "head -c {size} /dev/zero > {directory}/file; code=$?; stat -c %s {directory}/file; rm {directory}/file; exit $code"
            )
        };
        assert!(place.sh(&fill("8M")).await.succeeded(), "{directory}");
        let outcome = place.sh(&fill("400M")).await;
        assert!(
            !outcome.succeeded() && outcome.text.contains("No space left on device"),
            "{directory}: {outcome:?}"
        );
        let size: u64 = outcome.text.trim().rsplit('\n').next().unwrap().parse().unwrap();
        assert!(size < 256 * MIB, "{directory}: {size}");
    }
    let sparse = place
        .sh("truncate -s 1G /workspace/sparse && shred -n 1 /workspace/sparse")
        .await;
    assert!(!sparse.succeeded(), "{sparse:?}");
    assert!(size_on_disk(machine.data.path()) < 280 * MIB);
}

/// Bytes that the host keeps below a directory for sandboxes.
fn size_on_disk(data: &Path) -> u64 {
    let output = std::process::Command::new("du")
        .args(["-s", "-B1"])
        .arg(data.join("sandboxes"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn inodes_end_at_their_limit() {
    let limits = Limits {
        disk_bytes: 256 * MIB,
        ..Limits::default()
    };
    let Some((_machine, place)) = enforced("inodes_end_at_their_limit", Aspect::DiskLimit, limits).await
    else {
        return;
    };
    let program = r"
import os
made = 0
try:
    while made < 2_000_000:
        os.close(os.open(f'/workspace/{made}', os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError as error: print(error.strerror)
print(made)";
    let outcome = place.python(program).await;
    let made: u32 = outcome.text.trim().rsplit('\n').next().unwrap().parse().unwrap();
    assert!(
        outcome.text.contains("No space left on device") && (100..200_000).contains(&made),
        "{outcome:?}"
    );
    let program = "import os\nmade = 0\ntry:\n    while made < 100000:\n        open(f'/dev/shm/{made}', 'w').close()\n        made += 1\nexcept OSError as error: print(error.strerror, made)";
    let outcome = place.python(program).await;
    assert!(
        outcome.text.starts_with("No space left on device 16"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn descriptors_end_at_their_limit() {
    let (_machine, place) = limited(Limits::default()).await;
    let program = r"
import errno, os, resource
kept = []
try:
    while len(kept) < 100_000: kept.append(os.dup(0))
except OSError as error: print(errno.errorcode[error.errno], len(kept))
for kept_one in kept: os.close(kept_one)
try: resource.setrlimit(resource.RLIMIT_NOFILE, (16_385, 16_385))
except (OSError, ValueError) as error: print('not raised')";
    let outcome = place.python(program).await;
    let words: Vec<&str> = outcome.text.split_whitespace().collect();
    let most: u64 = words[1].parse().unwrap();
    // The sandbox's own limit, or the machine's where that is less.
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = hard.map_or(16_384, |hard| hard.min(16_384));
    assert!(
        words[0] == "EMFILE" && (limit - 300..=limit).contains(&most) && words[2..] == ["not", "raised"],
        "{outcome:?}"
    );
}

#[tokio::test]
async fn endless_output_fills_nothing() {
    let (machine, place) = limited(Limits {
        memory_bytes: 256 * MIB,
        ..Limits::default()
    })
    .await;
    for id in ["one", "two"] {
        start(
            &place,
            id,
            "while :; do head -c 1M /dev/zero; printf x >> /tmp/written-$$; done",
        )
        .await;
    }
    // It stops by itself, because nobody acknowledges.
    let written = "cat /tmp/written-* 2>/dev/null | wc -c";
    let (mut last, mut same, end) = (String::new(), 0, Instant::now() + DEADLINE);
    while same < 8 {
        assert!(Instant::now() < end, "still writing: {last}");
        let now = place.sh(written).await.text;
        same = if now == last && now.trim() != "0" {
            same + 1
        } else {
            0
        };
        last = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mib: u64 = last.trim().parse().unwrap();
    assert!(
        (16..400).contains(&mib),
        "{mib} MiB were taken of two processes that nobody reads"
    );
    assert!(size_on_disk(machine.data.path()) < 512 * MIB);
    if machine.enforces(Aspect::MemoryLimit) {
        assert_eq!(memory_kills(&machine, &place).await, 0);
    }
    // Whoever reads gets it on.
    let mut output = place.client.output("one", 0, false).await.unwrap();
    assert!(output.next().await.unwrap().is_some());
    tokio::time::timeout(DEADLINE, machine.backend.destroy(&place.id))
        .await
        .unwrap()
        .unwrap();
}

/// Writes to the runtime's standard output, beside the runtime.
fn into_the_runtime(what: &str) -> String {
    let program = format!(
        r"
import ctypes, glob, os
for path in glob.glob('/proc/[0-9]*/cmdline'):
    if b'hostler-agent' in open(path, 'rb').read():
        runtime = os.pidfd_open(int(path.split('/')[2]))
        libc = ctypes.CDLL(None, use_errno=True)
        out = libc.syscall(438, runtime, 1, 0)
        if out < 0: print('pidfd_getfd', os.strerror(ctypes.get_errno()))
        {what}"
    );
    python(&program)
}

#[tokio::test]
async fn a_broken_answer_ends_only_its_session() {
    let attacks = [
        ("a line that is no JSON", r"os.write(out, b'this is not JSON\n')"),
        (
            "bytes that are no text",
            r"os.write(out, b'\xff\xfe\x00\n' * 100)",
        ),
        ("a deep value", r"os.write(out, b'[' * 60000 + b'\n')"),
        (
            "an endless line",
            r"exec('while True: os.write(out, b'+repr(chr(120))+' * 60000)')",
        ),
    ];
    let product = Product::new();
    for (name, attack) in attacks {
        let ran = product.sh(&into_the_runtime(attack), &[]).await;
        println!("{name}: {:?} {} {}", ran.code, ran.object["error"], ran.said());
        assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
        assert!(ran.object["error"]["message"].is_string(), "{name}: {ran:?}");
        let (code, listed) = product.hostler(&["sessions", "list"]).await;
        assert!(code == Some(0), "{name}: {listed}");
    }
    // The next session is as good as ever.
    let ran = product.sh("echo still here", &[]).await;
    assert!(
        ran.code == Some(0) && ran.said().contains("still here"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_sandbox_can_always_be_ended() {
    let machine = Machine::start().await;
    for frozen in [false, true] {
        let place = machine
            .sandbox_with(
                Limits {
                    pids: 256,
                    ..Limits::default()
                },
                tempfile::tempdir().unwrap(),
            )
            .await;
        let mark = format!("storm-of-{}", place.id);
        start(&place, "storm", &format!("storm() {{ setsid sh -c \"$1\" {mark} \"$1\" & }}; s='trap \"\" TERM INT HUP; while :; do setsid sh -c \"$1\" '{mark}' \"$1\" & done'; storm \"$s\"; wait")).await;
        let end = Instant::now() + DEADLINE;
        while running(&mark) < 20 {
            assert!(
                Instant::now() < end,
                "the storm does not come up: {}",
                running(&mark)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if frozen && machine.enforces(Aspect::Freeze) {
            machine.backend.freeze(&place.id).await.unwrap();
            assert!(machine.backend.observe(&place.id).await.unwrap().frozen);
        }
        tokio::time::timeout(DEADLINE, machine.backend.destroy(&place.id))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(running(&mark), 0);
    }
}
