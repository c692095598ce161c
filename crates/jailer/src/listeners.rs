//! Binding the listeners of a running sandbox anew, when those who held them are gone: the jailer that was killed, and the
//! server that was. A short-lived child enters the sandbox's namespaces, binds as its shell did, and passes them back.

use crate::error::{During as _, StepError};
use crate::protocol::Spec;
use crate::shell::Report;
use crate::shells::Shell;
use crate::sys::Child;
use crate::workshop::Workshop;
use crate::{identity, network, sys};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::time::Duration;

/// A child that makes a handful of system calls takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Workshop {
    /// The same listeners, in the same order. Fails while somebody still holds one of the old ones.
    pub fn bind_listeners(&self, shell: &Shell, spec: &Spec) -> Result<Vec<OwnedFd>, StepError> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let process = shell
            .child
            .as_ref()
            .ok_or_else(missing)
            .during("bind listeners", || spec.id.clone())?;
        let namespaces = namespaces_of(process)?;
        let (own, theirs) = channel::pair().during("make channel", String::new)?;
        channel::set_patience(&own, Some(PATIENCE)).during("make channel", String::new)?;
        let user = identity::shell_user(self.machine.identity);
        let child = sys::clone3(0, None).during("start binder", || spec.id.clone())?;
        let Some(child) = child else {
            drop(own);
            bind(&theirs, &namespaces, (user, &spec.egress_ports));
        };
        drop(theirs);
        let received = channel::receive::<Report>(&own);
        if received.is_err() {
            rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL).ok();
        }
        identity::reap(&child.pidfd).during("reap", || "binder".to_owned())?;
        match received {
            Ok((Report::Ready, listeners)) => Ok(listeners),
            Ok((Report::Failed { step, reason }, _)) => {
                Err(io::Error::other(reason)).during("bind listeners", || step)
            }
            Ok((Report::Entered, _)) => {
                Err(io::Error::from(io::ErrorKind::InvalidData)).during("bind listeners", String::new)
            }
            Err(error) => Err(io::Error::other(error)).during("bind listeners", String::new),
        }
    }
}

/// Its user and network namespaces.
fn namespaces_of(process: &Child) -> Result<[OwnedFd; 2], StepError> {
    let open = |name: &str| {
        let path = format!("/proc/{}/ns/{name}", process.pid);
        rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .during("open namespace", || path)
    };
    let opened = [open("user")?, open("net")?];
    // Its number can only be another's once it has ended.
    if identity::lives(&process.pidfd) {
        return Ok(opened);
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
        .during("open namespace", || "the sandbox has ended".to_owned())
}

/// The child's side.
fn bind(channel: &OwnedFd, [user, network]: &[OwnedFd; 2], (root, ports): (u32, &[u16])) -> ! {
    let make = || -> Result<Vec<OwnedFd>, StepError> {
        let enter = |namespace: &OwnedFd, kind| move_into_link_name_space(namespace.as_fd(), Some(kind));
        enter(user, LinkNameSpaceType::User)
            .and_then(|()| enter(network, LinkNameSpaceType::Network))
            .during("enter namespaces", String::new)?;
        // Who may share a port with the listeners is a question of the user that made them.
        let (gid, uid) = (Gid::from_raw(root), Uid::from_raw(root));
        rustix::thread::set_thread_res_gid(gid, gid, gid)
            .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
            .during("become root of the sandbox", || root.to_string())?;
        network::check_free(ports)?;
        let mut listeners = network::listeners()?;
        listeners.extend(network::egress(ports)?);
        Ok(listeners)
    };
    let sent = match make() {
        Ok(listeners) => {
            let borrowed: Vec<_> = listeners.iter().map(OwnedFd::as_fd).collect();
            channel::send(channel, &Report::Ready, &borrowed)
        }
        Err(error) => {
            let reason = format!("{}: {}", error.what, error.source);
            let step = error.step.to_owned();
            channel::send(channel, &Report::Failed { step, reason }, &[])
        }
    };
    sys::exit_now(i32::from(sent.is_err()))
}
