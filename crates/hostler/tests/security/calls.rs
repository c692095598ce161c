//! Raw system calls, made by the same Python program inside a sandbox and on the host.
//!
//! What is refused inside must not be refused outside, or the attack proves nothing: so each program can run in both
//! places and says, name by name, what the kernel answered.

use crate::place::Place;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// Calls by name, for the programs.
const NUMBERS: [(&str, libc::c_long); 68] = [
    ("acct", libc::SYS_acct),
    ("add_key", libc::SYS_add_key),
    ("adjtimex", libc::SYS_adjtimex),
    ("bpf", libc::SYS_bpf),
    ("capset", libc::SYS_capset),
    ("chroot", libc::SYS_chroot),
    ("clock_adjtime", libc::SYS_clock_adjtime),
    ("clock_settime", libc::SYS_clock_settime),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("delete_module", libc::SYS_delete_module),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("finit_module", libc::SYS_finit_module),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("fspick", libc::SYS_fspick),
    ("getpid", libc::SYS_getpid),
    ("init_module", libc::SYS_init_module),
    ("inotify_init1", libc::SYS_inotify_init1),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("ioctl", libc::SYS_ioctl),
    ("kcmp", libc::SYS_kcmp),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("kill", libc::SYS_kill),
    ("mknodat", libc::SYS_mknodat),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("mq_open", libc::SYS_mq_open),
    ("msgget", libc::SYS_msgget),
    ("name_to_handle_at", libc::SYS_name_to_handle_at),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("personality", libc::SYS_personality),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pivot_root", libc::SYS_pivot_root),
    ("prctl", libc::SYS_prctl),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("ptrace", libc::SYS_ptrace),
    ("quotactl", libc::SYS_quotactl),
    ("reboot", libc::SYS_reboot),
    ("request_key", libc::SYS_request_key),
    ("semget", libc::SYS_semget),
    ("setdomainname", libc::SYS_setdomainname),
    ("sethostname", libc::SYS_sethostname),
    ("setns", libc::SYS_setns),
    ("settimeofday", libc::SYS_settimeofday),
    ("setuid", libc::SYS_setuid),
    ("setgid", libc::SYS_setgid),
    ("setgroups", libc::SYS_setgroups),
    ("shmget", libc::SYS_shmget),
    ("swapoff", libc::SYS_swapoff),
    ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog),
    ("tgkill", libc::SYS_tgkill),
    ("umount2", libc::SYS_umount2),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("vhangup", libc::SYS_vhangup),
    ("wait4", libc::SYS_wait4),
];

/// `call` answers `ok` or the name of the error; `say` tells the test.
const PRELUDE: &str = r"
import ctypes, errno, os, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def named(number):
    return errno.errorcode.get(number, str(number))
def raw(name, *arguments):
    number = SYS[name] if isinstance(name, str) else name
    ctypes.set_errno(0)
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    words += [ctypes.c_long(0)] * (6 - len(words))
    return libc.syscall(ctypes.c_long(number), *words)
def call(name, *arguments):
    return 'ok' if raw(name, *arguments) >= 0 else named(ctypes.get_errno())
def say(name, answer):
    print(name, answer, sep='\t', flush=True)
def attempt(name, action):
    try:
        action()
        say(name, 'ok')
    except OSError as error:
        say(name, named(error.errno))
def calls(table):
    for name, *arguments in table:
        say(name, call(name, *arguments))
";

/// What a program said, by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Answers(BTreeMap<String, String>);

impl Answers {
    fn parse(text: &str, succeeded: bool) -> Self {
        assert!(succeeded, "the program failed: {text}");
        let pairs = text.lines().map(|line| line.split_once('\t').expect(line));
        let answers = Self(
            pairs
                .map(|(name, answer)| (name.to_owned(), answer.to_owned()))
                .collect(),
        );
        assert!(!answers.0.is_empty());
        answers
    }

    pub fn of(&self, name: &str) -> &str {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("nothing was said of {name}: {:?}", self.0))
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, answer)| (name.as_str(), answer.as_str()))
    }

    #[track_caller]
    pub fn expect(&self, wanted: &[(&str, &str)]) {
        for (name, answer) in wanted {
            assert_eq!(self.of(name), *answer, "{name} of {:?}", self.0);
        }
    }

    /// Every single answer is this one.
    #[track_caller]
    pub fn expect_only(&self, answer: &str) {
        for (name, found) in self.all() {
            assert_eq!(found, answer, "{name} of {:?}", self.0);
        }
    }

    /// No answer is this one: the control of [`Self::expect_only`].
    #[track_caller]
    pub fn expect_never(&self, answer: &str) {
        for (name, found) in self.all() {
            assert_ne!(found, answer, "{name} of {:?}", self.0);
        }
    }
}

fn whole(program: &str) -> String {
    let numbers: Vec<_> = NUMBERS
        .iter()
        .map(|(name, number)| format!("'{name}': {number}"))
        .collect();
    format!("SYS = {{{}}}\n{PRELUDE}\n{program}", numbers.join(", "))
}

/// Runs a program as the agent.
pub async fn inside(place: &Place, program: &str) -> Answers {
    let outcome = place.python(&whole(program)).await;
    Answers::parse(&outcome.text, outcome.succeeded())
}

/// Runs a program as the user of this test.
pub fn outside(program: &str) -> Answers {
    started(&[], program)
}

/// Runs a program as root of new user and mount namespaces of the host, where a sandbox's walls are missing.
pub fn outside_as_root_of_a_namespace(program: &str) -> Answers {
    started(&["unshare", "--user", "--map-root-user", "--mount"], program)
}

fn started(wrapper: &[&str], program: &str) -> Answers {
    let mut command = Command::new("timeout");
    command
        .arg("60")
        .args(wrapper)
        .args(["/usr/bin/python3", "-c", &whole(program)]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    Answers::parse(&text, output.status.success())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The processes of a sandbox, by their ids on the host.
pub async fn processes_on_the_host(place: &Place) -> Vec<u32> {
    let namespace = place.sh("readlink /proc/self/ns/pid").await;
    assert!(namespace.succeeded(), "{namespace:?}");
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_of = |id: &u32| {
        std::fs::read_link(format!("/proc/{id}/ns/pid"))
            .is_ok_and(|found| found.to_string_lossy() == namespace.text.trim())
    };
    ids.filter(is_of).collect()
}
