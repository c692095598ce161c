//! Disks that were not let go of in order: checked and mended before they are used.
//!
//! Where nothing but what was being written is lost by it, if that can be. A host that ran out of room has left directories
//! whose blocks were never written; what was in those is gone, and the rest of the disk is not to go with it.

use super::path_of;
use crate::error::{During as _, StepError};
use crate::rooms::Rooms;
use rustix::fd::OwnedFd;
use std::io;
use std::process::{Command, Stdio};

/// Of the superblock, from the start of the file.
const SUPERBLOCK: u64 = 1024;
const MAGIC: usize = 0x38;
const STATE: usize = 0x3A;
const SUPERBLOCK_BYTES: usize = 0x3C;
const EXT4: u16 = 0xEF53;
/// Unmounted in order and without an error.
const CLEAN: u16 = 1;
/// What e2fsck answers at most when all is well in the end.
const MENDED: i32 = 3;

/// Makes sure that an image that nobody uses can be mounted.
pub(super) fn repair(rooms: &Rooms, file: &OwnedFd) -> Result<(), StepError> {
    let mut superblock = [0_u8; SUPERBLOCK_BYTES];
    let read = rustix::io::pread(file, &mut superblock, SUPERBLOCK).during("read disk", String::new)?;
    let number = |at: usize| u16::from_le_bytes([superblock[at], superblock[at + 1]]);
    if read < SUPERBLOCK_BYTES || number(MAGIC) != EXT4 {
        return Err(damaged("it is no ext4 file system"));
    }
    if number(STATE) == CLEAN {
        return Ok(());
    }
    rooms.outside(|| check(file))
}

fn check(file: &OwnedFd) -> Result<(), StepError> {
    let mut said = String::new();
    // What it may do by itself, then whatever it asks for.
    for how in ["-p", "-fy"] {
        let output = Command::new("e2fsck")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .arg(how)
            .arg(path_of(file))
            .output()
            .during("run e2fsck", || "install e2fsprogs".to_owned())?;
        if output.status.code().is_some_and(|code| code <= MENDED) {
            return Ok(());
        }
        said = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    // Its last words say what is wrong; the first ones, where it was found.
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Err(damaged(last.unwrap_or("e2fsck cannot mend it")))
}

fn damaged(what: &str) -> StepError {
    StepError {
        step: "check disk",
        what: "the disk is damaged".to_owned(),
        source: io::Error::other(what.to_owned()),
    }
}
