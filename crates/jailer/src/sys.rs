//! The system calls that no safe crate offers, each behind a safe wrapper. The only `unsafe` of this crate.
#![expect(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::thread::UnshareFlags;
use std::ffi::CStr;
use std::io;

/// A child made by [`clone3`], seen from the parent.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// Of `linux/sched.h`; the C library's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `clone3` without a new stack: like fork, with namespaces. The child gets `None`.
///
/// Only a single-threaded process may call this: the child goes on in a copy of the whole process, and a lock that
/// another thread held would stay held for ever.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    let mut arguments = libc::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live across the call and are of the size that is passed; without a stack the child runs on
    // a copy of this one, as after fork.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut arguments),
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => {
            // SAFETY: the kernel stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Some(Child {
                pid: pid as i32,
                pidfd,
            }))
        }
    }
}

/// Ends the calling process without running destructors or exit handlers, as a forked child must.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` does not return and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Moves this process into new namespaces. Only a single-threaded process may call this.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags that this crate passes are namespaces; no descriptor table is parted.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Replaces this process by the program at `path`.
pub fn execve(path: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> io::Error {
    let pointers = |list: &[&CStr]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer and outlive the call; it returns only on an error.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Duplicates a descriptor to a given number, without close-on-exec.
pub fn place_fd(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: clears the flags of a descriptor that is open.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) });
    }
    // SAFETY: dup2 onto a number that the caller has reserved for this.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) })
}

/// Takes a descriptor that this process was started with.
///
/// Fails if it is not open. The caller takes each number once.
pub fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: sets a flag of a descriptor, or fails if there is none.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and by contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the caller owns none of them any more; it is about to run another program.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    check(result as i32)
}

/// Maps the owners of files seen through a detached mount by a user namespace.
pub fn set_mount_id_map(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    set_mount_attributes(mount, libc::MOUNT_ATTR_IDMAP, 0, Some(user_namespace))
}

/// Sets and clears attributes of a mount and of everything mounted below it.
pub fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    user_namespace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty C string, the structure outlives the call and is of the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(&attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    check(result as i32)
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// The effective capabilities of this process.
pub fn effective_capabilities() -> io::Result<u64> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 reads a header and fills two data structures of this layout.
    check(unsafe { libc::syscall(libc::SYS_capget, std::ptr::from_ref(&header), data.as_mut_ptr()) as i32 })?;
    Ok(u64::from(data[0].effective) | u64::from(data[1].effective) << 32)
}

/// Sets the permitted and effective capabilities to `keep`, the inheritable ones to `inheritable`.
pub fn set_capabilities(keep: u64, inheritable: u64) -> io::Result<()> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapabilityData {
        effective: (keep >> shift) as u32,
        permitted: (keep >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads a header and two data structures of this layout.
    check(unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_ref(&header), data.as_ptr()) as i32 })
}

/// Removes one capability from the bounding set; beyond the kernel's last one this fails with `EINVAL`.
pub fn drop_bounding_capability(number: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) })
}

/// Adds one capability to the ambient set, so that it survives an exec by another user than root.
pub fn raise_ambient_capability(number: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
            libc::c_ulong::from(number),
            0,
            0,
        )
    })
}

/// Installs a seccomp filter for this process and all it starts. `no_new_privs` must be set.
pub fn install_seccomp_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program outlives the call; the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            std::ptr::from_ref(&program),
        )
    };
    check(result as i32)
}

/// The kernel's version of Landlock, 0 if it has none.
pub fn landlock_version() -> i32 {
    const QUERY_VERSION: u32 = 1;
    // SAFETY: with this flag the call takes neither a structure nor a size.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            QUERY_VERSION,
        )
    };
    version.max(0) as i32
}

/// A loop device's configuration: `LOOP_CONFIGURE` of `linux/loop.h`.
#[repr(C)]
struct LoopConfiguration {
    fd: u32,
    block_size: u32,
    info: LoopInformation,
    reserved: [u64; 8],
}

#[repr(C)]
struct LoopInformation {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// The number of a loop device that nobody uses right now.
pub fn free_loop_device(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: takes no argument beyond the request.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
    check(number)?;
    Ok(number as u32)
}

/// Backs a loop device by a file. The kernel lets go of it when the last user closes it.
pub fn configure_loop_device(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let configuration = LoopConfiguration {
        fd: file.as_raw_fd() as u32,
        block_size: 4096,
        info: LoopInformation {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_AUTOCLEAR,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the structure has the layout of the kernel's and outlives the call.
    check(unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            LOOP_CONFIGURE as _,
            std::ptr::from_ref(&configuration),
        )
    })
}

/// Of `linux/nsfs.h`.
const NS_GET_PARENT: libc::c_ulong = 0xB702;

/// The user namespace that a user namespace was made in.
pub fn parent_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: takes no argument beyond the request.
    let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT as _) };
    check(parent)?;
    // SAFETY: the kernel made a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(parent) })
}

/// A descriptor's raw number, for messages and `/proc/self/fd` paths.
pub fn number_of(fd: impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
