//! The hostler binary: which program it is today, by its name and first argument.
//!
//! The roles that start often come first and touch nothing of the others: a guest starts in a fraction of a millisecond.

mod apart;
mod audit;
mod benches;
mod command_line;
mod ledger;
mod network;
mod roles;
mod service;
mod stack;
#[cfg(test)]
mod units;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments
        .first()
        .and_then(|name| Path::new(name).file_name())
        .map(OsStr::to_owned);
    if name.as_deref() == Some(OsStr::new("hostler-agent")) {
        return agent::main(arguments);
    }
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some("guest") => roles::guest(),
        Some("jailer") => roles::jailer(&arguments.split_off(2)),
        Some("agent") => agent::main(arguments.split_off(1)),
        Some(cli::APART) => apart::run(&arguments.split_off(2)),
        _ => command_line::run(arguments),
    }
}
