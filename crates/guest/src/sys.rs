//! System calls that have no safe wrapper elsewhere. Nothing else in this crate is unsafe.

#![expect(
    unsafe_code,
    reason = "signals, fork and the file system user have no safe wrapper in rustix"
)]

use rustix::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use rustix::process::{Gid, Pid, Uid};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use tokio::io::unix::AsyncFd;

/// The highest signal number.
const LAST_SIGNAL: i32 = 64;

/// Allocations from this size on go back to the system as soon as they are freed.
const MMAP_THRESHOLD: i32 = 64 << 10;

/// Keeps a long line that came once from staying in the heap: setting the threshold also stops glibc from raising it.
pub(crate) fn return_freed_memory() {
    // SAFETY: mallopt only sets a parameter of the allocator; nothing is passed that must live on.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD) };
}

/// Blocks all signals, and makes those that end children and the guest readable.
pub(crate) fn block_signals() -> io::Result<OwnedFd> {
    let mut all = MaybeUninit::uninit();
    let mut wanted = MaybeUninit::uninit();
    // SAFETY: sigfillset and sigemptyset initialise the sets that they are given, before anything reads them; the
    // descriptor is new and owned by nobody else.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigemptyset(wanted.as_mut_ptr());
        libc::sigaddset(wanted.as_mut_ptr(), libc::SIGCHLD);
        libc::sigaddset(wanted.as_mut_ptr(), libc::SIGTERM);
        let failed = libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        let fd = libc::signalfd(-1, wanted.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

/// What a new program becomes between fork and exec.
pub(crate) struct Becoming {
    /// Standard input is to be its controlling terminal.
    pub(crate) terminal: bool,
    pub(crate) user: Option<(Uid, Gid)>,
    pub(crate) cwd: OwnedFd,
}

/// Starts the program in a session of its own, with nothing of the guest but its three standard descriptors.
pub(crate) fn start(command: &mut Command, becoming: Becoming) -> io::Result<Child> {
    // SAFETY: the guest has one thread, so no lock is held by another in the forked child; `enter` calls only functions
    // that make one system call each and do not allocate.
    unsafe { command.pre_exec(move || enter(&becoming)) };
    command.spawn()
}

fn enter(becoming: &Becoming) -> io::Result<()> {
    rustix::process::setsid()?;
    if becoming.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    default_signals();
    rustix::thread::set_no_new_privs(true)?;
    if let Some((uid, gid)) = becoming.user {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    rustix::process::fchdir(&becoming.cwd)?;
    // A second wall: every descriptor of the guest is close-on-exec already. Old kernels lack this call.
    // SAFETY: marks descriptors of this process, which is about to exec; closes none.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

/// Default dispositions and no signal blocked. By raw calls: glibc keeps two signals to itself.
fn default_signals() {
    /// The kernel's `sigaction`: handler, flags, restorer and mask, all zero for the default.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_BYTES: usize = size_of::<u64>();
    let (none, nowhere) = (0_u64, std::ptr::null_mut::<u64>());
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the kernel only reads the struct, and the default disposition runs no code. Signals that cannot be
        // changed are refused.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                nowhere,
                MASK_BYTES,
            )
        };
    }
    // SAFETY: the kernel only reads the mask.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            nowhere,
            MASK_BYTES,
        )
    };
}

/// Sends any signal of 1 to 64, to a process or to its group.
pub(crate) fn kill(pid: Pid, signal: i32, group: bool) -> io::Result<()> {
    let target = if group {
        -pid.as_raw_pid()
    } else {
        pid.as_raw_pid()
    };
    // SAFETY: takes two numbers. The pid is positive, so its negative names one group and never everything.
    if unsafe { libc::kill(target, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes this thread's file system user another one; tells whether it worked.
pub(crate) fn set_file_user(uid: Uid, gid: Gid) -> bool {
    const UNCHANGED: u32 = u32::MAX;
    // SAFETY: takes numbers. Asking for an impossible id changes nothing and answers the present one.
    unsafe {
        libc::setfsgid(gid.as_raw());
        libc::setfsuid(uid.as_raw());
        libc::setfsgid(UNCHANGED).cast_unsigned() == gid.as_raw()
            && libc::setfsuid(UNCHANGED).cast_unsigned() == uid.as_raw()
    }
}

/// Lets the event loop say when a non-blocking descriptor is ready.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns a valid descriptor, and nothing replaces or closes it while the `AsyncFd` has it.
    Ok(unsafe { AsyncFd::register(fd)? })
}

/// Reads one pending signal: its number, and the sender's pid as seen from here (0 from outside the pid namespace).
pub(crate) fn read_signal(signals: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut bytes = [0; SIZE];
    let read = rustix::io::read(signals.as_fd(), &mut bytes)?;
    if read != SIZE {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: the kernel filled the whole struct, which is plain numbers of which any bytes are valid.
    let info: libc::signalfd_siginfo = unsafe { std::mem::transmute(bytes) };
    Ok((info.ssi_signo.cast_signed(), info.ssi_pid))
}
