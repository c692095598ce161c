//! The program that starts a successor and ends at once, so that the successor is nobody's child but the service
//! manager's: that one hears of the end of its own children, and does not start a service again whose main process is
//! another's.

use crate::command_line::fail;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode, Stdio};

/// Starts this program with these arguments, and says its number on standard input, where whoever asked listens.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("no successor can be started: {error}")),
    }
}

fn start(arguments: &[OsString]) -> io::Result<()> {
    let mut asked = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let started = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn();
    let number = started.map(|successor| successor.id())?;
    writeln!(asked, "{number}")
}
