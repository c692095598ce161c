//! Loop devices: a file as a block device, let go by the kernel when its last user is gone.

use crate::error::{During as _, StepError};
use crate::sys;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, SeekFrom};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Another process may take the device between the question and the answer.
const MOST_TRIES: usize = 64;
/// One inode for so many bytes: enough for a source tree, and few enough to be a limit.
const BYTES_PER_INODE: &str = "16384";

/// The machine's loop devices, by its `/dev`.
#[derive(Debug)]
pub struct LoopDevices {
    dev: OwnedFd,
    control: OwnedFd,
}

impl LoopDevices {
    /// Fails where there are none, or where they may not be used.
    pub fn of_machine() -> Result<Self, StepError> {
        let dev = rustix::fs::openat(CWD, "/dev", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .during("open", || "/dev".to_owned())?;
        let control = rustix::fs::openat(
            &dev,
            "loop-control",
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .during("open", || "/dev/loop-control".to_owned())?;
        Ok(Self { dev, control })
    }

    pub fn attach(&self, file: &OwnedFd) -> Result<OwnedFd, StepError> {
        let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
        for _ in 0..MOST_TRIES {
            let number =
                sys::free_loop_device(self.control.as_fd()).during("find loop device", String::new)?;
            let name = format!("loop{number}");
            let device = rustix::fs::openat(&self.dev, &name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .during("open", || format!("/dev/{name}"))?;
            // Direct I/O would wait for the machine's disk at each start: a new image is still in memory.
            let result = sys::configure_loop_device(device.as_fd(), file.as_fd());
            match result {
                Ok(()) => return Ok(device),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
                Err(error) => return Err(error).during("configure", || format!("/dev/{name}")),
            }
        }
        Err(last).during("configure loop device", || format!("{MOST_TRIES} tries"))
    }
}

/// Makes an empty ext4 in a file that has its size: without a journal, for the files are worth no more than the
/// machine's uptime until somebody keeps them, and without space reserved for root.
pub(super) fn format(path: &Path) -> Result<(), StepError> {
    let mut command = Command::new("mkfs.ext4");
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command.args([
        "-q",
        "-F",
        "-m",
        "0",
        // The device's own; left alone, small file systems would get blocks that it cannot serve.
        "-b",
        "4096",
        "-i",
        BYTES_PER_INODE,
        "-O",
        "^has_journal,^resize_inode",
    ]);
    command
        .args(["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"])
        .arg(path);
    let output = command
        .output()
        .during("run mkfs.ext4", || "install e2fsprogs".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(message)).during("run mkfs.ext4", || output.status.to_string())
}

/// Whether this machine has what [`format`] runs.
pub fn can_format() -> bool {
    ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4"]
        .iter()
        .any(|path| Path::new(path).exists())
}

/// Copies only what is there, so that a copy of an empty disk is a few hundred kibibytes.
pub(super) fn copy_sparse(from: &OwnedFd, to: &OwnedFd, bytes: u64) -> io::Result<()> {
    rustix::fs::ftruncate(to, bytes)?;
    let mut at = 0;
    loop {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        let (mut source, mut target) = (start, start);
        while source < end {
            let length = usize::try_from(end - source).unwrap_or(usize::MAX);
            if rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), length)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        at = end;
    }
}
