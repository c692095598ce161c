//! The runtime as a program of its own, for trying it under the official SDKs (`cli_path`).

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::main(std::env::args_os().collect())
}
