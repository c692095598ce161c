//! The runtime as a process: its standard streams, its signals, its exit code.

mod stream;

use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::run::{Exit, Signal, serve};
use crate::session::PROTOCOL_VERSION;
use crate::start::Setup;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const HELP: &str =
    "hostler-agent: the native agent runtime of hostler. It speaks the Agent SDK's process protocol:
newline-delimited JSON on standard input and output (--input-format stream-json --output-format stream-json).
The SDKs start it in place of the official command line and write its options.
One option is its own: --run-tool-uses ID[,ID...], with --resume, goes on without a new prompt: the tool uses named, which
the session was left with, are run as if the model had just asked; the others are told to have been interrupted.
";

/// Runs one session on the standard streams. `arguments` begins with the program's name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::parse(arguments.into_iter().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            return leave(Exit {
                code: 1,
                message: Some(format!("error: {error}")),
            });
        }
    };
    if arguments.shows_version || arguments.shows_help {
        let text = if arguments.shows_help {
            HELP.to_owned()
        } else {
            format!(
                "{PROTOCOL_VERSION} (hostler-agent {})\n",
                env!("CARGO_PKG_VERSION")
            )
        };
        let written = io::stdout().write_all(text.as_bytes());
        return if written.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(2))
        .thread_stack_size(512 << 10)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return leave(Exit {
                code: 1,
                message: Some(format!("Error: the runtime cannot start: {error}")),
            });
        }
    };
    let exit = runtime.block_on(session(arguments));
    // A read of standard input may still be blocked on a thread; it ends with the process.
    runtime.shutdown_background();
    leave(exit)
}

async fn session(arguments: Arguments) -> Exit {
    let failed = |message: String| Exit {
        code: 1,
        message: Some(message),
    };
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(error) => return failed(format!("Error: the working directory is gone: {error}")),
    };
    let (sender, signals) = mpsc::channel(4);
    let setup = Setup {
        arguments,
        environment: Environment::from_process(),
        cwd,
        tools: None,
    };
    let (input, output) = match (stream::input(), stream::output()) {
        (Ok(input), Ok(output)) => (input, output),
        (Err(error), _) | (_, Err(error)) => {
            return failed(format!("Error: the standard streams cannot be used: {error}"));
        }
    };
    let life = serve(setup, input, output, signals);
    tokio::select! {
        biased;
        exit = life => exit,
        // Forwards signals for as long as the session lives.
        error = forward_signals(sender) => failed(format!("Error: signals cannot be handled: {error}")),
    }
}

async fn forward_signals(sender: mpsc::Sender<Signal>) -> io::Error {
    let streams = signal(SignalKind::interrupt()).and_then(|one| Ok((one, signal(SignalKind::terminate())?)));
    let (mut interrupts, mut terminations) = match streams {
        Ok(streams) => streams,
        Err(error) => return error,
    };
    loop {
        let received = tokio::select! {
            Some(()) = interrupts.recv() => Signal::Interrupt,
            Some(()) = terminations.recv() => Signal::Terminate,
        };
        // Four signals that nobody has taken yet are enough: more say the same.
        let _ = sender.try_send(received);
    }
}

fn leave(exit: Exit) -> ExitCode {
    if let Some(message) = exit.message {
        // Nothing is left to do if standard error is closed.
        let _ = writeln!(io::stderr(), "{message}");
    }
    ExitCode::from(exit.code)
}
