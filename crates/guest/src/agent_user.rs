//! Acting as the agent's user, so that its own rights decide what the guest reads and writes for the host.

use crate::refusal::Refusal;
use crate::sys;
use guest_protocol::ErrorKind;
use rustix::process::{Gid, Uid};

/// The agent's user, where it is not the guest's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AgentUser {
    switch: Option<(Uid, Gid)>,
}

impl AgentUser {
    /// Only root of the namespace can, and needs to, become somebody else.
    pub(crate) fn new(uid: u32, gid: u32) -> Self {
        let agent = (Uid::from_raw(uid), Gid::from_raw(gid));
        let switch = rustix::process::geteuid().is_root() && !agent.0.is_root();
        Self {
            switch: switch.then_some(agent),
        }
    }

    /// Whom a new program becomes; nothing where it stays the guest's user.
    pub(crate) fn switch(self) -> Option<(Uid, Gid)> {
        self.switch
    }

    /// Drops the groups that came with the guest's user: file rights are the agent's alone.
    pub(crate) fn forget_groups(self) -> rustix::io::Result<()> {
        match self.switch {
            Some(_) => rustix::thread::set_thread_groups(&[]),
            None => Ok(()),
        }
    }

    /// Runs `work` with the agent's rights to files. It must not wait: the guest's only thread has them meanwhile.
    pub(crate) fn acting<T>(self, work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        let Some((uid, gid)) = self.switch else {
            return work();
        };
        let guard = Restore {
            uid: rustix::process::geteuid(),
            gid: rustix::process::getegid(),
        };
        if !sys::set_file_user(uid, gid) {
            return Err(Refusal::new(
                ErrorKind::Internal,
                "the guest cannot act as the agent's user",
            ));
        }
        let result = work();
        drop(guard);
        result
    }
}

struct Restore {
    uid: Uid,
    gid: Gid,
}

impl Drop for Restore {
    fn drop(&mut self) {
        sys::set_file_user(self.uid, self.gid);
    }
}
