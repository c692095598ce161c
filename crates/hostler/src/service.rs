//! What a server does while it is root, if it was started so: the jailer is started, which stays, unless somebody else does
//! that, and root is given up.
//!
//! It comes before any thread: privileges are those of a thread.

use anyhow::Context as _;
use cli::{JailerStart, ServeSettings};
use domain::InstanceId;
use sandbox_linux::{LinuxBackend, Options, give_up_root, hand_over, server_user};
use store::Instance;

pub(crate) fn prepare(settings: &ServeSettings) -> anyhow::Result<()> {
    if !settings.take_over || !settings.data.exists() {
        // Made and looked at by its lock, which the server takes again as the user that it becomes.
        drop(Instance::open(&settings.data)?);
    }
    let data = settings
        .data
        .canonicalize()
        .context("the data directory has no place")?;
    let user = server_user();
    hand_over(&data, user)?;
    let options = Options {
        program: std::env::current_exe().context("this program cannot find its own file")?,
        data,
        instance: InstanceId::random(),
        shells: 0,
        disks: 0,
        limits: settings.tuning.limits,
        starts_jailer: settings.tuning.jailer == JailerStart::Own,
    };
    if options.starts_jailer {
        LinuxBackend::start_jailer(&options, user)?;
    }
    Ok(give_up_root(user)?)
}
