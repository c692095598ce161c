//! What a server does while it is root, if it was started so: the jailer is started, which stays, and root is given up.
//!
//! It comes before any thread: privileges are those of a thread.

use anyhow::Context as _;
use cli::{Environment, ServeArguments};
use domain::{InstanceId, Limits};
use jailer::raise_descriptor_limit;
use sandbox_linux::{LinuxBackend, Options, give_up_root, hand_over, server_user};
use store::Instance;

pub(crate) fn prepare(arguments: &ServeArguments) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let environment = Environment::of_process();
    if !environment.is_root {
        return Ok(());
    }
    let data = arguments
        .data_directory(&environment)
        .map_err(anyhow::Error::msg)?;
    if !arguments.take_over {
        // Made and looked at by its lock, which the server takes again as the user that it becomes.
        drop(Instance::open(&data)?);
    }
    let data = data.canonicalize().context("the data directory has no place")?;
    let user = server_user();
    hand_over(&data, user)?;
    let options = Options {
        program: std::env::current_exe().context("this program cannot find its own file")?,
        data,
        instance: InstanceId::random(),
        shells: 0,
        disks: 0,
        limits: Limits::default(),
    };
    LinuxBackend::start_jailer(&options, user)?;
    Ok(give_up_root(user)?)
}
