//! P14 to P17: no process of the host, no terminal of it, and not the guest can be touched by the agent.

use crate::calls;
use crate::place::Machine;
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
