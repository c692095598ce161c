//! P14 to P17: no process of the host, no terminal of it, and not the guest can be touched by the agent.

use crate::calls;
use crate::place::Machine;
use crate::product::{self, Product};
use sandbox::Aspect;
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};

/// A process of the host that ends with the test.
struct Victim(Child);

impl Victim {
    fn start(argv: &[&str]) -> Self {
        let mut command = Command::new(argv[0]);
        Self(
            command
                .args(&argv[1..])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// Waits for what the process says first.
    fn line(&mut self) -> String {
        let mut line = String::new();
        std::io::BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn host_processes_are_not_there() {
    let mut victim = Victim::start(&["sleep", "331"]);
    let (id, own) = (victim.0.id(), std::process::id());
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let attack = format!(
        "
for pid in ({id}, {own}):
    say(f'signal {{pid}}', call('kill', pid, 0))
    say(f'kill {{pid}}', call('kill', pid, 9))
    say(f'open {{pid}}', call('pidfd_open', pid, 0))
    attempt(f'priority {{pid}}', lambda: os.getpriority(os.PRIO_PROCESS, pid))
"
    );
    let control = format!("say('signal', call('kill', {id}, 0))\nsay('open', call('pidfd_open', {id}, 0))");
    calls::outside(&control).expect_only("ok");
    let answers = calls::inside(&place, &attack).await;
    answers.expect_only("ESRCH");
    let seen = place
        .sh("ps_list=$(cat /proc/[0-9]*/comm | sort -u); echo $ps_list; ls -d /proc/[0-9]* | wc -l")
        .await;
    assert!(
        seen.succeeded() && !seen.text.contains("sleep") && !seen.text.contains("attack"),
        "{seen:?}"
    );
    // Everything that can be named: all there is, each group, each number.
    let storm = place.python("import os\nfor pid in range(2, 70000):\n  for one in (pid, -pid):\n    if pid != os.getpid() and pid != os.getpgrp():\n      try: os.kill(one, 9)\n      except OSError: pass\ntry: os.kill(-1, 9)\nexcept OSError: pass\nprint('done')").await;
    assert!(storm.text.contains("done"), "{storm:?}");
    assert!(victim.0.try_wait().unwrap().is_none());
    assert!(place.sh("true").await.succeeded(), "the guest survived as well");
}

/// Tracing, reading and writing a process.
fn touch(target: &str) -> String {
    format!(
        "
{target}
class Piece(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
page = ctypes.create_string_buffer(16)
def pieces(address):
    return ctypes.byref(Piece(address, 16))
with open('/proc/self/maps') as maps:
    somewhere = int(maps.readline().split('-')[0], 16)
for task in (sorted(os.listdir(f'/proc/{{target}}/task')) or [str(target)]):
    seized = call('ptrace', 0x4206, int(task), 0, 0)
    say(f'seize {{task}}', seized)
    if seized != 'ok':
        say(f'attach {{task}}', call('ptrace', 16, int(task), 0, 0))
for name in ('mem', 'environ', 'maps', 'auxv', 'syscall'):
    def read():
        with open(f'/proc/{{target}}/{{name}}', 'rb') as file:
            if name == 'mem':
                file.seek(somewhere)
            file.read(16)
    attempt(name, read)
attempt('root', lambda: os.listdir(f'/proc/{{target}}/root'))
attempt('descriptors', lambda: os.listdir(f'/proc/{{target}}/fd'))
attempt('memory to write', lambda: os.open(f'/proc/{{target}}/mem', os.O_RDWR))
attempt('directory', lambda: os.listdir(f'/proc/{{target}}/cwd'))
held = os.pidfd_open(target)
say('take a descriptor', call('pidfd_getfd', held, 0, 0))
say('read memory', call('process_vm_readv', target, pieces(ctypes.addressof(page)), 1, pieces(somewhere), 1, 0))
say('write memory', call('process_vm_writev', target, pieces(ctypes.addressof(page)), 1, pieces(ctypes.addressof(page)), 1, 0))
"
    )
}

/// A child of the program, at rest, with a copy of its memory.
const CHILD: &str = "
import atexit
ready, say_ready = os.pipe()
target = os.fork()
if not target:
    CHANGE
    os.write(say_ready, b'1')
    signal.pause()
os.read(ready, 1)
atexit.register(lambda: os.kill(target, 9))
";

#[tokio::test]
async fn the_guest_cannot_be_traced() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    calls::inside(&place, &touch(&CHILD.replace("CHANGE", "pass")))
        .await
        .expect_only("ok");
    if !machine.enforces(Aspect::SeparateUsers) {
        assert!(!calls::is_root());
        return;
    }
    let attack = touch("target = 1")
        + "for number in (0, 9, 19):\n    say(f'signal {number}', call('kill', 1, number))\n";
    let answers = calls::inside(&place, &attack).await;
    assert!(answers.all().count() >= 14, "{answers:?}");
    for (what, answer) in answers.all() {
        assert!(answer == "EPERM" || answer == "EACCES", "{what}: {answer}");
    }
    assert!(place.sh("true").await.succeeded());
}

#[tokio::test]
async fn only_own_processes_can_be_traced() {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    calls::inside(&place, &touch(&CHILD.replace("CHANGE", "pass")))
        .await
        .expect_only("ok");
    // One that may not be traced without a capability, though it is the agent's.
    let hidden = CHILD.replace("CHANGE", "raw('prctl', 4, 0)");
    let guarded = "seize attach mem environ maps";
    let program = touch(&hidden);
    let inside = calls::inside(&place, &program).await;
    for (what, answer) in inside
        .all()
        .filter(|(what, _)| guarded.contains(what.split(' ').next().unwrap()))
    {
        assert!(answer == "EPERM" || answer == "EACCES", "{what}: {answer}");
    }
    if calls::is_root() {
        calls::outside(&program).expect(&[("mem", "ok"), ("read memory", "ok")]);
    }
    // All others that there are belong to the guest.
    let others = "
for pid in sorted(int(name) for name in os.listdir('/proc') if name.isdigit()):
    if os.stat(f'/proc/{pid}').st_uid != os.getuid() or pid == 1:
        say(f'seize {pid}', call('ptrace', 0x4206, pid, 0, 0))
say('no such', call('ptrace', 0x4206, 31999, 0, 0))
";
    let answers = calls::inside(&place, others).await;
    answers.expect(&[("seize 1", "EPERM"), ("no such", "ESRCH")]);
    for (what, answer) in answers.all().filter(|(what, _)| what.starts_with("seize")) {
        assert_eq!(answer, "EPERM", "{what}");
    }
}

#[tokio::test]
async fn a_terminal_of_the_host_cannot_be_typed_into() {
    // Terminals of the host, more than a sandbox has, and this one says the last one's name.
    let program = "import os, sys\nends = [os.openpty() for _ in range(12)]\nprint(os.ttyname(ends[-1][1]), flush=True)\nsys.stdin.read()";
    let mut holder = Victim::start(&["/usr/bin/python3", "-c", program]);
    let name = holder.line();
    assert!(
        name.starts_with("/dev/pts/") && std::path::Path::new(&name).exists(),
        "{name}"
    );
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    let attack = format!(
        "
attempt('of the host', lambda: os.open('{name}', os.O_RDWR | os.O_NOCTTY))
attempt('controlling', lambda: os.open('/dev/tty', os.O_RDWR))
attempt('console', lambda: os.open('/dev/console', os.O_RDWR))
for fd in (0, 1, 2):
    say(f'standard {{fd}}', 'terminal' if os.isatty(fd) else 'none')
"
    );
    calls::inside(&place, &attack).await.expect(&[
        ("of the host", "ENOENT"),
        ("controlling", "ENXIO"),
        ("console", "ENOENT"),
        ("standard 0", "none"),
        ("standard 1", "none"),
        ("standard 2", "none"),
    ]);
    let control = format!("attempt('of the host', lambda: os.open('{name}', os.O_RDWR | os.O_NOCTTY))");
    calls::outside(&control).expect_only("ok");
    // Even its own terminal takes no typed character, so one that came as a descriptor would not either.
    let own = "
import pty
ends, mine = os.openpty()
size = ctypes.create_string_buffer(64)
one = ctypes.c_char(b'x')
def type_in(request):
    return call('ioctl', mine, request, ctypes.byref(one))
say('size', call('ioctl', mine, 0x5413, size))
for name, request in (('TIOCSTI', 0x5412), ('TIOCSTI with more bits', 0x5412 | 1 << 32), ('TIOCLINUX', 0x541C), ('TIOCSETD', 0x5423)):
    say(name, type_in(request))
";
    let answers = calls::inside(&place, own).await;
    answers.expect(&[
        ("size", "ok"),
        ("TIOCSTI", "EPERM"),
        ("TIOCSTI with more bits", "EPERM"),
        ("TIOCLINUX", "EPERM"),
        ("TIOCSETD", "EPERM"),
    ]);
    if calls::is_root() {
        calls::outside(own).expect(&[("TIOCSTI", "ok"), ("TIOCSTI with more bits", "ok")]);
    }
    let listed = place.sh("ls /dev/pts").await;
    assert_eq!(listed.text, "ptmx\n");
}

/// Everything that an agent can bring before the eyes of its user: sets the title, clears, moves, asks the terminal to
/// type, and turns the direction of text around.
const CONTROL: [&str; 6] = [
    "\u{1b}]0;evil\u{7}",
    "\u{1b}[2J",
    "\u{9b}31m",
    "\u{1b}P$qm\u{1b}\\",
    "\u{202e}live",
    "\r\u{8}\u{b}",
];

#[tokio::test]
async fn an_agent_does_not_control_the_terminal() {
    let product = Product::new();
    let evil = CONTROL.concat();
    let script = product.path().join("control.json");
    let command = format!(
        "printf '%s' '{evil}' | tee \"/workspace/$(printf '{evil}')\"; echo '{evil}' > /workspace/file"
    );
    let turns = serde_json::json!([
        {"reply": [
            {"thinking": evil},
            {"text": format!("first {evil}")},
            {"tool_use": {"name": "Bash", "input": {"command": command, "description": evil}}},
        ]},
        {"reply": [{"text": format!("last {evil} {{{{last_tool_result}}}}")}]},
    ]);
    std::fs::write(
        &script,
        serde_json::json!({"name": "control", "turns": turns}).to_string(),
    )
    .unwrap();
    let script = script.to_str().unwrap();
    let workspace = product.workspace.path().to_str().unwrap().to_owned();
    let run = [
        "run",
        "--apply",
        "--workspace",
        &workspace,
        "--simulate",
        script,
        "Do it.",
    ];
    let mut shown = on_a_terminal(&product, &run);
    assert!(shown.contains("first") && shown.contains("last"), "{shown:?}");
    // Of another one, what it changed is still to be looked at.
    std::fs::write(product.workspace.path().join("file"), "old\n").unwrap();
    let ran = product::ran(product.command(&[], &["--simulate", script])).await;
    let id = ran.object["session_id"].as_str().unwrap();
    for words in [
        ["sessions", "show", id].as_slice(),
        &["sessions", "diff", id],
        &["sessions", "list"],
    ] {
        shown += &on_a_terminal(&product, words);
    }
    for sequence in CONTROL {
        assert!(!shown.contains(sequence), "{sequence:?} in {shown:?}");
    }
    assert!(
        !shown.contains("\u{1b}]") && !shown.contains("\u{1b}P") && !shown.contains('\u{9b}'),
        "{shown:?}"
    );
}

/// What a command of hostler shows on a terminal.
fn on_a_terminal(product: &Product, words: &[&str]) -> String {
    let output = Command::new("/usr/bin/python3")
        .args([
            "-c",
            "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
        ])
        .arg(env!("CARGO_BIN_EXE_hostler"))
        .args(words)
        .env("HOSTLER_DATA", product.path().join("data"))
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {shown}");
    shown
}
