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

    /// The one that the machine's table of users has by this name.
    pub fn named(name: &str) -> Option<Self> {
        // A name that is nowhere but in a directory of users on the network is not found: nothing is asked there.
        found(name, &std::fs::read_to_string("/etc/passwd").unwrap_or_default())
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

    /// `UID:GID`, numbers, or the name of a user.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((uid, gid)) = text.split_once(':') else {
            return Self::named(text)
                .ok_or_else(|| format!("this machine has no user {text}: make it, or say UID:GID"));
        };
        let number = |text: &str| text.parse().ok();
        let user = number(uid).zip(number(gid)).map(|(uid, gid)| Self { uid, gid });
        user.ok_or_else(|| format!("{text} is no UID:GID, as 998:998 is"))
    }
}

fn found(name: &str, users: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next()? == name && !name.is_empty();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        is_it.then_some(User { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_two_numbers() {
        assert_eq!("998:997".parse(), Ok(User { uid: 998, gid: 997 }));
        for wrong in [
            "",
            "998",
            "nobody at all",
            "hostler:hostler",
            "1:2:3",
            "-1:0",
            "4294967296:1",
        ] {
            assert!(wrong.parse::<User>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        assert_eq!("root".parse(), Ok(User { uid: 0, gid: 0 }));
        let users = "root:x:0:0:root:/root:/bin/sh\n:x:1:1::/:\nhostler:x:998:997::/:/usr/sbin/nologin\n";
        assert_eq!(found("hostler", users), Some(User { uid: 998, gid: 997 }));
        for other in ["hostle", "hostlers", "x", "", "+"] {
            assert_eq!(found(other, users), None, "{other}");
        }
    }
}
