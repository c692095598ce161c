//! What a server does that was started as root, and then whatever is asked for: what the tests of this crate run.
//!
//! `without-root DIRECTORY PROGRAM [ARGUMENTS]` hands the data directory DIRECTORY to the server's user, becomes it, and
//! runs PROGRAM.

use sandbox_linux::{give_up_root, hand_over, server_user};
use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = "without-root DIRECTORY PROGRAM [ARGUMENTS]";
    let data = PathBuf::from(arguments.next().ok_or(usage)?);
    let program = arguments.next().ok_or(usage)?;
    let user = server_user();
    hand_over(&data, user)?;
    give_up_root(user)?;
    Err(Command::new(program).args(arguments).exec().into())
}
