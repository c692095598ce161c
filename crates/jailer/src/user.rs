//! The user that a server runs as, for a jailer that is root and serves one that is not.

use crate::error::{During as _, StepError};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode};
use rustix::process::{Gid, Uid};
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    pub fn owns(self, owner: u32) -> bool {
        self.uid == owner
    }

    /// Lets this user connect to a socket in a directory of the jailer's own, and pass through the directory to it.
    pub fn let_in(self, directory: &OwnedFd, socket: &str) -> Result<(), StepError> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(directory, socket, Some(uid), None, AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| rustix::fs::fchown(directory, None, Some(gid)))
            .and_then(|()| rustix::fs::fchmod(directory, Mode::from_raw_mode(0o710)))
            .during("open socket to the server", || socket.to_owned())
    }
}

impl FromStr for User {
    type Err = String;

    /// `UID:GID`, numbers.
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (uid, gid) = text.split_once(':')?;
            Some(Self {
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            })
        };
        parse().ok_or_else(|| format!("{text} is no UID:GID, as 998:998 is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_two_numbers() {
        assert_eq!("998:997".parse(), Ok(User { uid: 998, gid: 997 }));
        for wrong in ["", "998", "hostler:hostler", "1:2:3", "-1:0", "4294967296:1"] {
            assert!(wrong.parse::<User>().is_err(), "{wrong}");
        }
    }
}
