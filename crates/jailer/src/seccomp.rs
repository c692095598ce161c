//! The system call filter: [`table`] compiled to a balanced tree of comparisons.
//!
//! The kernel runs a filter once for every call number when it is installed and again for each call that is not simply
//! allowed, so a tree of eight comparisons is some ten times cheaper than a list of three hundred.

mod table;

use crate::sys;
use libc::sock_filter;
use std::io;

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER_OR_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data`; the low half of an argument, little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xC000_00B7;
/// Calls of the x32 kind start here.
const X32: u32 = 0x4000_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Errno(i32),
    /// Look at the arguments of this call.
    Check(libc::c_long),
}

/// All of a sandbox's processes from here on are bound by the filter. `no_new_privs` must be set.
pub fn install() -> io::Result<()> {
    sys::install_seccomp_filter(&compile())
}

/// The whole program.
fn compile() -> Vec<sock_filter> {
    let mut program = vec![
        statement(LOAD_WORD, ARCHITECTURE),
        jump(JUMP_EQUAL, NATIVE, 1, 0),
        verdict(Verdict::Errno(libc::ENOSYS)),
        statement(LOAD_WORD, NUMBER),
        jump(JUMP_GREATER_OR_EQUAL, X32, 0, 1),
        verdict(Verdict::Errno(libc::ENOSYS)),
    ];
    program.extend(tree(&ranges()));
    debug_assert!(u16::try_from(program.len()).is_ok());
    program
}

/// Where each run of equal verdicts starts, by call number, from 0 on.
fn ranges() -> Vec<(u32, Verdict)> {
    let checked = [
        libc::SYS_clone,
        libc::SYS_unshare,
        libc::SYS_socket,
        libc::SYS_ioctl,
        libc::SYS_personality,
    ];
    let checked = checked
        .into_iter()
        .chain(table::MAKE_NODE.iter().map(|(number, _)| *number));
    let all = table::ALLOWED
        .iter()
        .chain(table::ALLOWED_HERE)
        .map(|number| (*number, Verdict::Allow))
        .chain(
            table::DENIED
                .iter()
                .map(|number| (*number, Verdict::Errno(libc::EPERM))),
        )
        .chain(checked.map(|number| (number, Verdict::Check(number))));
    let known: std::collections::BTreeMap<u32, Verdict> =
        all.map(|(number, verdict)| (number as u32, verdict)).collect();
    let last = known.keys().next_back().copied().unwrap_or(0);
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    for number in 0..=last + 1 {
        let verdict = known
            .get(&number)
            .copied()
            .unwrap_or(Verdict::Errno(libc::ENOSYS));
        if ranges.last().is_none_or(|(_, before)| *before != verdict) {
            ranges.push((number, verdict));
        }
    }
    ranges
}

fn tree(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    match ranges {
        [] => vec![verdict(Verdict::Errno(libc::ENOSYS))],
        [(_, Verdict::Check(number))] => check(*number),
        [(_, only)] => vec![verdict(*only)],
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let pivot = above.first().map_or(0, |(start, _)| *start);
            let (below, above) = (tree(below), tree(above));
            let mut program = Vec::with_capacity(below.len() + above.len() + 2);
            match u8::try_from(below.len()) {
                Ok(skip) => program.push(jump(JUMP_GREATER_OR_EQUAL, pivot, skip, 0)),
                // A conditional jump reaches 255 instructions; further needs a plain one.
                Err(_) => program.extend([
                    jump(JUMP_GREATER_OR_EQUAL, pivot, 0, 1),
                    statement(JUMP, below.len() as u32),
                ]),
            }
            program.extend(below);
            program.extend(above);
            program
        }
    }
}

/// The closer look at one call's arguments.
fn check(number: libc::c_long) -> Vec<sock_filter> {
    let allow = verdict(Verdict::Allow);
    let refuse = verdict(Verdict::Errno(libc::EPERM));
    match number {
        libc::SYS_clone | libc::SYS_unshare => {
            let time = if number == libc::SYS_unshare {
                table::NEW_TIME
            } else {
                0
            };
            vec![
                statement(LOAD_WORD, argument(0)),
                jump(JUMP_ANY_BIT, table::NAMESPACE_FLAGS | time, 0, 1),
                refuse,
                allow,
            ]
        }
        libc::SYS_ioctl => one_of((1, u32::MAX), &table::DENIED_IOCTLS, refuse, allow),
        libc::SYS_personality => one_of((0, u32::MAX), &table::PERSONALITIES, allow, refuse),
        libc::SYS_socket => sockets(),
        _ => {
            let mode = table::MAKE_NODE.iter().find(|(call, _)| *call == number);
            let mode = mode.map_or(0, |(_, argument)| *argument);
            one_of((mode, libc::S_IFMT), &table::DEVICES, refuse, allow)
        }
    }
}

/// Whether the bits of an argument are one of these values.
fn one_of(
    (index, mask): (u32, u32),
    values: &[u32],
    found: sock_filter,
    otherwise: sock_filter,
) -> Vec<sock_filter> {
    let mut program = vec![statement(LOAD_WORD, argument(index)), statement(AND, mask)];
    for (position, value) in values.iter().enumerate() {
        program.push(jump(JUMP_EQUAL, *value, (values.len() - position) as u8, 0));
    }
    program.extend([otherwise, found]);
    program
}

/// Raw sockets need a capability that nobody has; here they are refused before that is even asked. Of the other
/// protocols over IP the kernel would load a module for whoever asks.
fn sockets() -> Vec<sock_filter> {
    let [unix, inet, inet6, netlink] = table::SOCKET_FAMILIES;
    let [any, tcp, udp, icmp, icmp6] = table::IP_PROTOCOLS;
    let unknown = verdict(Verdict::Errno(libc::EAFNOSUPPORT));
    vec![
        statement(LOAD_WORD, argument(0)),
        jump(JUMP_EQUAL, unix, 16, 0),
        jump(JUMP_EQUAL, inet, 5, 0),
        jump(JUMP_EQUAL, inet6, 4, 0),
        jump(JUMP_EQUAL, netlink, 0, 2),
        statement(LOAD_WORD, argument(2)),
        jump(JUMP_EQUAL, libc::NETLINK_ROUTE as u32, 11, 0),
        unknown,
        // The type's low four bits; the others are flags.
        statement(LOAD_WORD, argument(1)),
        statement(AND, 0xf),
        jump(JUMP_EQUAL, libc::SOCK_RAW as u32, 8, 0),
        statement(LOAD_WORD, argument(2)),
        jump(JUMP_EQUAL, any, 5, 0),
        jump(JUMP_EQUAL, tcp, 4, 0),
        jump(JUMP_EQUAL, udp, 3, 0),
        jump(JUMP_EQUAL, icmp, 2, 0),
        jump(JUMP_EQUAL, icmp6, 1, 0),
        verdict(Verdict::Errno(libc::EPROTONOSUPPORT)),
        verdict(Verdict::Allow),
        verdict(Verdict::Errno(libc::EPERM)),
    ]
}

const fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn verdict(verdict: Verdict) -> sock_filter {
    let value = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
        Verdict::Check(_) => libc::SECCOMP_RET_KILL_PROCESS,
    };
    statement(RETURN, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(architecture.to_le_bytes());
        data.extend(0_u64.to_le_bytes());
        for argument in arguments {
            data.extend(argument.to_le_bytes());
        }
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let instruction = program[at];
            let jumped =
                |condition: bool| usize::from(if condition { instruction.jt } else { instruction.jf });
            at += 1;
            match instruction.code {
                LOAD_WORD => {
                    let offset = instruction.k as usize;
                    accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
                }
                JUMP => at += instruction.k as usize,
                JUMP_EQUAL => at += jumped(accumulator == instruction.k),
                JUMP_GREATER_OR_EQUAL => at += jumped(accumulator >= instruction.k),
                JUMP_ANY_BIT => at += jumped(accumulator & instruction.k != 0),
                RETURN => return instruction.k,
                _ => accumulator &= instruction.k,
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    fn errno(number: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | number as u32
    }

    #[test]
    fn every_call_gets_the_verdict_of_its_list() {
        let program = compile();
        for number in 0..600 {
            let call = libc::c_long::from(number);
            let got = run(&program, NATIVE, number as u32, [0; 6]);
            if table::DENIED.contains(&call) {
                assert_eq!(got, errno(libc::EPERM), "{number}");
            } else if table::ALLOWED.contains(&call) || table::ALLOWED_HERE.contains(&call) {
                assert_eq!(got, ALLOW, "{number}");
            } else if !matches!(
                call,
                libc::SYS_clone
                    | libc::SYS_unshare
                    | libc::SYS_socket
                    | libc::SYS_ioctl
                    | libc::SYS_personality
            ) && table::MAKE_NODE.iter().all(|(node, _)| *node != call)
            {
                assert_eq!(got, errno(libc::ENOSYS), "{number}");
            }
        }
    }

    #[test]
    fn no_call_stands_in_two_lists() {
        for number in table::DENIED {
            assert!(
                !table::ALLOWED.contains(number) && !table::ALLOWED_HERE.contains(number),
                "{number}"
            );
        }
    }

    #[test]
    fn another_architecture_and_x32_have_no_calls() {
        let program = compile();
        assert_eq!(run(&program, 0x4000_0003, 0, [0; 6]), errno(libc::ENOSYS));
        assert_eq!(run(&program, NATIVE, X32, [0; 6]), errno(libc::ENOSYS));
        assert_eq!(run(&program, NATIVE, u32::MAX, [0; 6]), errno(libc::ENOSYS));
    }

    #[test]
    fn arguments_decide_where_they_must() {
        let (ip, unix, netlink) = (
            libc::AF_INET as u64,
            libc::AF_UNIX as u64,
            libc::AF_NETLINK as u64,
        );
        let (stream, raw) = (libc::SOCK_STREAM as u64, libc::SOCK_RAW as u64);
        let table = [
            (
                libc::SYS_clone,
                [libc::CLONE_VM as u64 | libc::SIGCHLD as u64, 0, 0],
                ALLOW,
            ),
            (
                libc::SYS_clone,
                [libc::CLONE_NEWUSER as u64, 0, 0],
                errno(libc::EPERM),
            ),
            (
                libc::SYS_unshare,
                [libc::CLONE_NEWNS as u64, 0, 0],
                errno(libc::EPERM),
            ),
            (
                libc::SYS_unshare,
                [libc::CLONE_NEWTIME as u64, 0, 0],
                errno(libc::EPERM),
            ),
            (libc::SYS_unshare, [libc::CLONE_FILES as u64, 0, 0], ALLOW),
            (libc::SYS_mknodat, [0, 0, u64::from(libc::S_IFIFO | 0o666)], ALLOW),
            (libc::SYS_mknodat, [0, 0, 0o666], ALLOW),
            (
                libc::SYS_mknodat,
                [0, 0, u64::from(libc::S_IFCHR | 0o666)],
                errno(libc::EPERM),
            ),
            (
                libc::SYS_mknodat,
                [0, 0, u64::from(libc::S_IFBLK)],
                errno(libc::EPERM),
            ),
            (
                libc::SYS_socket,
                [ip, stream | libc::SOCK_CLOEXEC as u64, 0],
                ALLOW,
            ),
            (
                libc::SYS_socket,
                [ip, raw | libc::SOCK_NONBLOCK as u64, 0],
                errno(libc::EPERM),
            ),
            (libc::SYS_socket, [ip, stream, libc::IPPROTO_TCP as u64], ALLOW),
            (
                libc::SYS_socket,
                [ip, stream, libc::IPPROTO_SCTP as u64],
                errno(libc::EPROTONOSUPPORT),
            ),
            (
                libc::SYS_socket,
                [ip, stream, libc::IPPROTO_MPTCP as u64],
                errno(libc::EPROTONOSUPPORT),
            ),
            (libc::SYS_socket, [unix, raw, 0], ALLOW),
            (libc::SYS_socket, [netlink, raw, 0], ALLOW),
            (libc::SYS_socket, [netlink, raw, 9], errno(libc::EAFNOSUPPORT)),
            (
                libc::SYS_socket,
                [libc::AF_PACKET as u64, raw, 0],
                errno(libc::EAFNOSUPPORT),
            ),
            (
                libc::SYS_socket,
                [libc::AF_VSOCK as u64, stream, 0],
                errno(libc::EAFNOSUPPORT),
            ),
            (libc::SYS_ioctl, [0, libc::TIOCGWINSZ, 0], ALLOW),
            (libc::SYS_ioctl, [0, libc::TIOCSTI, 0], errno(libc::EPERM)),
            (
                libc::SYS_ioctl,
                [0, libc::TIOCSTI | 1 << 32, 0],
                errno(libc::EPERM),
            ),
            (libc::SYS_personality, [0, 0, 0], ALLOW),
            (libc::SYS_personality, [0x0008_0000, 0, 0], errno(libc::EPERM)),
        ];
        let program = compile();
        for (number, [a, b, c], expected) in table {
            assert_eq!(
                run(&program, NATIVE, number as u32, [a, b, c, 0, 0, 0]),
                expected,
                "{number} {a} {b} {c}"
            );
        }
    }

    #[test]
    fn the_filter_is_short() {
        let program = compile();
        assert!(program.len() < 400, "{} instructions", program.len());
    }
}
