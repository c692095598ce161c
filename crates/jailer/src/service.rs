//! The jailer as a service: it listens in its data directory, and sandboxes go on when it or its server is gone.
//!
//! Whoever it serves may write to the data directory, so nothing is taken from there but three directories that must be
//! the jailer's own, and those by their descriptors: sandboxes, disks, and the image, which it builds itself.

use crate::disk;
use crate::error::{During as _, StepError};
use crate::protocol::{Hello, SOCKET, Welcome};
use crate::registry;
use crate::request;
use crate::server::{Door, JailerError, Server};
use crate::sys;
use crate::user::User;
use crate::workshop::{self, Form, HOST, IMAGES, Image, Site, Workshop};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::AtFlags;
use rustix::time::Timespec;
use std::path::{Path, PathBuf};

/// How long a jailer that cannot start waits for somebody to tell why, in seconds.
const TELLING: i64 = 5;

#[derive(Debug)]
pub struct Service {
    /// Absolute.
    pub data: PathBuf,
    /// Whose server it is, where that is not who the jailer runs as.
    pub user: Option<User>,
}

/// Serves until it is told to stop.
///
/// `build_image` finds or builds the image of this program in a directory, and answers its name there; `ready` is called
/// when whoever comes is served.
pub fn run(
    service: &Service,
    build_image: impl FnOnce(&Path) -> Result<String, String>,
    ready: impl FnOnce(),
) -> Result<(), JailerError> {
    // A terminal that it was started from has no say.
    rustix::process::setsid().ok();
    rustix::process::chdir("/").during("enter", || "/".to_owned())?;
    request::prepare_process();
    let lock = workshop::take(&service.data)?;
    let data = disk::open_directory(&service.data)?;
    // Who is served by a jailer that is nobody else than itself may do what it may.
    let user = service.user.filter(|user| user.uid != 0 && workshop::is_root());
    let sandboxes = disk::trusted_directory(&data, "sandboxes", user.map(|user| user.gid))?;
    let door = Door::open(&data, &sandboxes, user)?;
    let opened = image(&data, build_image).and_then(|name| {
        let site = Site {
            instance: registry::name_of_service(&data)?,
            data: service.data.clone(),
            image: Image::Own(name.clone()),
            form: Form::Service(user),
        };
        let (workshop, survivors) = Workshop::open(&site, lock)?;
        // What a sandbox still sees is not to be removed.
        if survivors.is_empty() {
            remove_other_images(&data, &name)?;
        }
        Ok((workshop, survivors))
    });
    let result = match opened {
        Ok((workshop, survivors)) => {
            // Whoever is told is where the host's paths are.
            let told = workshop.rooms.outside(|| {
                ready();
                Ok(())
            });
            told.map_err(JailerError::from)
                .and_then(|()| Server::serve_door(workshop, door, survivors))
        }
        Err(error) => {
            tell(&door, &error.to_string());
            Err(error)
        }
    };
    // Whoever comes now finds nobody here at all.
    rustix::fs::unlinkat(&data, SOCKET, AtFlags::empty()).ok();
    result
}

fn image(
    data: &OwnedFd,
    build_image: impl FnOnce(&Path) -> Result<String, String>,
) -> Result<String, JailerError> {
    let images = host_images(data)?;
    let path = format!("/proc/self/fd/{}", sys::number_of(&images));
    build_image(Path::new(&path)).map_err(|reason| JailerError::Image { reason })
}

fn host_images(data: &OwnedFd) -> Result<OwnedFd, StepError> {
    let images = disk::trusted_directory(data, IMAGES, None)?;
    disk::trusted_directory(&images, HOST, None)
}

fn remove_other_images(data: &OwnedFd, name: &str) -> Result<(), StepError> {
    let images = host_images(data)?;
    let others = registry::names(&images).into_iter().filter(|other| other != name);
    // What cannot be removed now is tried again by the next start.
    others.for_each(|other| drop(disk::remove_tree(&images, &other)));
    Ok(())
}

/// Says to one who comes why there is no jailer.
fn tell(door: &Door, reason: &str) {
    let patience = Timespec {
        tv_sec: TELLING,
        tv_nsec: 0,
    };
    let listener = door.listener();
    let came = poll(
        &mut [PollFd::from_borrowed_fd(listener, PollFlags::IN)],
        Some(&patience),
    );
    if matches!(came, Ok(1..))
        && let Some(channel) = door.accept()
        && channel::receive::<Hello>(&channel).is_ok()
    {
        // Somebody who leaves meanwhile does not hear it.
        channel::send(&channel, &Welcome::refusal(reason.to_owned()), &[]).ok();
    }
}
