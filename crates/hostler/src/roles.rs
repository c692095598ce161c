//! The programs that hostler plays, each in one function: how it begins, and what its end means.

use domain::{InstanceId, Limits};
use image::HostImage;
use jailer::service::{self, Service};
use jailer::{JailerError, supervisor};
use sandbox_linux::{LinuxBackend, Options};
use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::Instance;

/// The agent's user and place inside every sandbox.
const AGENT: u32 = 1000;
const AGENT_HOME: &str = "/home/agent";
const WORKSPACE: &str = "/workspace";
const CHANGES: &str = "/.hostler/changes";

/// How a jailer ends: another one would not do better, or it would; or it was called wrongly.
const CANNOT: u8 = supervisor::CANNOT.cast_unsigned() as u8;
const AGAIN: u8 = 70;
const USAGE: u8 = 2;

/// Process 1 of a sandbox: first the jailer's shell, which isolates, then the guest, which serves.
pub(crate) fn guest() -> ExitCode {
    // Whatever fails has been told to the jailer; nobody reads our standard error.
    let Ok(entered) = jailer::shell::run() else {
        return ExitCode::FAILURE;
    };
    let config = guest::Config {
        listener: entered.guest_socket,
        outbox: entered.outbox,
        agent_uid: AGENT,
        agent_gid: AGENT,
        agent_home: AGENT_HOME.to_owned(),
        default_cwd: WORKSPACE.to_owned(),
        changes_root: entered.reader.then(|| PathBuf::from(CHANGES)),
    };
    match guest::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The privileged program: without arguments, the child of one client; with a data directory, a service.
pub(crate) fn jailer(arguments: &[OsString]) -> ExitCode {
    if arguments.is_empty() {
        return ended(jailer::main());
    }
    match JailerArguments::parse(arguments) {
        Ok(arguments) => match arguments.service() {
            Ok(service) if arguments.ends => end(service.data),
            Ok(service) if arguments.supervised => match supervisor::run(&service) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            },
            Ok(service) => ended(service::run(&service, build_image, tell_service_manager)),
            Err(reason) => misused(&reason),
        },
        Err(reason) => misused(&reason),
    }
}

fn misused(reason: &str) -> ExitCode {
    failed(&reason);
    ExitCode::from(USAGE)
}

/// Where no service manager listens, nobody is told.
fn tell_service_manager() {
    sd_notify::notify(false, &[sd_notify::NotifyState::Ready]).ok();
}

/// Ends the sandboxes that a jailer keeps, and the jailer: under a service manager, the next one has none.
fn end(data: PathBuf) -> ExitCode {
    if Instance::is_at(&data) {
        return failed(&"a server works with its sandboxes: end that one first");
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed(&error),
    };
    let ended = LinuxBackend::end_service(&Options {
        program,
        data,
        instance: InstanceId::random(),
        shells: 0,
        disks: 0,
        limits: Limits::default(),
        starts_jailer: false,
    });
    match ended {
        Ok(number) => {
            writeln!(std::io::stdout(), "sandboxes that were ended: {number}").ok();
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// `--data DIR [--user UID:GID|NAME] [--supervise|--end]`
pub(crate) struct JailerArguments {
    pub(crate) data: PathBuf,
    pub(crate) user: Option<String>,
    /// By a parent of its own, in the background.
    pub(crate) supervised: bool,
    /// It is to end the one that is there.
    ends: bool,
}

impl JailerArguments {
    pub(crate) fn parse(arguments: &[OsString]) -> Result<Self, String> {
        let (mut data, mut user, mut supervised, mut ends) = (None, None, false, false);
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| format!("{} needs a value", word.display()))
            };
            match word.to_str() {
                Some("--data") => data = Some(PathBuf::from(value()?)),
                Some("--user") => user = Some(value()?.to_string_lossy().into_owned()),
                Some("--supervise") => supervised = true,
                Some("--end") => ends = true,
                _ => return Err(format!("{} is not an argument of the jailer", word.display())),
            }
        }
        let data = data.ok_or("--data DIR is missing")?;
        if !data.is_absolute() {
            return Err("the data directory must be an absolute path".to_owned());
        }
        Ok(Self {
            data,
            user,
            supervised,
            ends,
        })
    }

    fn service(&self) -> Result<Service, String> {
        Ok(Service {
            data: self.data.clone(),
            user: self.user.as_deref().map(str::parse).transpose()?,
        })
    }
}

/// The image of this very program, whatever is installed under its name by now.
fn build_image(directory: &Path) -> Result<String, String> {
    HostImage::ensure_in(directory, Path::new("/proc/self/exe")).map_err(|error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

fn ended(result: Result<(), JailerError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            failed(&error);
            ExitCode::from(if error.is_final() { CANNOT } else { AGAIN })
        }
    }
}

/// Standard error may be a terminal that is gone.
fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    writeln!(std::io::stderr(), "hostler jailer: {error}").ok();
    ExitCode::FAILURE
}
